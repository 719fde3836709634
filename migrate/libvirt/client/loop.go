package client

import (
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"
)

// startEvents registers libvirt's default event loop, which must happen before the
// first connection is made, and runs it for the life of the process. A failure
// is remembered: without the library nothing else can work either.
var startEvents = sync.OnceValue(func() error {
	if err := lv.EventRegisterDefaultImpl(); err != nil {
		return err
	}
	go func() {
		for {
			if err := lv.EventRunDefaultImpl(); err != nil {
				// Never seen; do not spin if it should come.
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	return nil
})
