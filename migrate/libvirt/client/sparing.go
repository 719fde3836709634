package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// hanging counts, by URI, the calls of this process that were abandoned at their deadline and have not returned. Each
// has a thread and a connection here, and a worker of the daemon there.
var hanging = struct {
	sync.Mutex
	calls map[string]int
	last  map[string]time.Time // when one was abandoned
}{calls: map[string]int{}, last: map[string]time.Time{}}

// hangAgain is how long no further attempt is made: a connection to a host that was switched off before it had answered
// hangs for ever, and the host may be up again.
const hangAgain = 10 * time.Minute

// waiting is how many calls hang at a URI; 0 where none was abandoned for long.
func waiting(uri string) int {
	hanging.Lock()
	defer hanging.Unlock()
	if time.Since(hanging.last[uri]) >= hangAgain {
		return 0
	}
	return hanging.calls[uri]
}

// leftBehind counts one more, until the function that it returns is called.
func leftBehind(uri string) (returned func()) {
	add := func(n int) {
		hanging.Lock()
		defer hanging.Unlock()
		if hanging.calls[uri] += n; hanging.calls[uri] == 0 {
			delete(hanging.calls, uri)
		}
		if n > 0 {
			hanging.last[uri] = time.Now()
		}
	}
	add(1)
	return func() { add(-1) }
}

// Sparing is open for a process that lives long and asks again and again: it makes no connection to a URI where most
// calls, or more, were abandoned and hang still, the last within ten minutes, as in a daemon that waits for storage
// which is away. The error is [libvirt.ErrConnect].
func Sparing[I any](most int, open func(context.Context, string) (I, error)) func(context.Context, string) (I, error) {
	return func(ctx context.Context, uri string) (I, error) {
		if n := waiting(uri); n >= most {
			var none I
			return none, &libvirt.Error{Op: opOpen, URI: uri, Kind: libvirt.ErrConnect,
				Message: fmt.Sprintf("%d earlier questions have had no answer yet: its daemon hangs, or storage "+
					"that it waits for", n)}
		}
		return open(ctx, uri)
	}
}
