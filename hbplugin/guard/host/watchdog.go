package host

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watchdog is a hardware watchdog that is armed: the machine is reset when it is not fed in time.
type Watchdog struct{ file *os.File }

// Arm opens the watchdog at path (linux/watchdog.h) and sets how long it waits, in whole seconds. It returns what the
// driver made of that.
func Arm(path string, timeout time.Duration) (*Watchdog, time.Duration, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("open the watchdog: %w", err)
	}
	w := &Watchdog{f}
	fd := int(f.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, int(timeout/time.Second)); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("set the watchdog's timeout to %s: %w", timeout, err), w.Disarm())
	}
	seconds, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("read the watchdog's timeout: %w", err), w.Disarm())
	}
	return w, time.Duration(seconds) * time.Second, nil
}

// Feed keeps the machine from being reset for one timeout more.
func (w *Watchdog) Feed() error {
	_, err := w.file.Write([]byte{0})
	return err
}

// Disarm closes the watchdog with the letter that tells it not to fire. A driver with nowayout fires all the same.
func (w *Watchdog) Disarm() error {
	_, err := w.file.WriteString("V")
	return errors.Join(err, w.file.Close())
}
