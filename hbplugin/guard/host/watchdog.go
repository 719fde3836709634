package host

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// Watchdog is a hardware watchdog that is armed: it resets the machine when it is not fed in time. The end of the
// process does not disarm it: the next guard has to feed it in time.
type Watchdog struct {
	file    *os.File
	Timeout time.Duration // as the driver has it
}

// driver are the calls of a watchdog's driver (linux/watchdog.h); times are in seconds.
type driver struct {
	set func(fd, seconds int) error
	get func(fd int) (seconds int, err error)
}

var kernel = driver{
	set: func(fd, seconds int) error { return unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds) },
	get: func(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT) },
}

// Arm opens the watchdog at path and sets its timeout, in whole seconds. The driver may make it longer; where it fires
// earlier, or cannot tell, it is disarmed again and there is an error.
func Arm(path string, timeout time.Duration) (*Watchdog, error) { return arm(path, timeout, kernel) }

func arm(path string, timeout time.Duration, d driver) (*Watchdog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("the watchdog %s is in use: is it RuntimeWatchdogSec of systemd, watchdogd or sbd? (%w)",
			path, err)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("the watchdog %s is a symbolic link: name the device itself (%w)", path, err)
	case err != nil:
		return nil, fmt.Errorf("open the watchdog: %w", err)
	}
	w := &Watchdog{file: f}
	if err := w.set(timeout, d); err != nil {
		return nil, errors.Join(fmt.Errorf("the watchdog %s: %w", path, err), w.Disarm())
	}
	return w, nil
}

func (w *Watchdog) set(timeout time.Duration, d driver) error {
	fd := int(w.file.Fd())
	if err := d.set(fd, int((timeout+time.Second-1)/time.Second)); err != nil {
		return fmt.Errorf("set its timeout to %s: %w", timeout, err)
	}
	seconds, err := d.get(fd)
	if err != nil {
		return fmt.Errorf("read its timeout: %w", err)
	}
	w.Timeout = time.Duration(seconds) * time.Second
	if longest := lease.LongestWatchdog / 2; w.Timeout < timeout || w.Timeout > longest {
		return fmt.Errorf("its timeout is %s: %s to %s is needed", w.Timeout, timeout, longest)
	}
	return nil
}

// Feed keeps the machine from being reset for one timeout more. The driver may take its time.
func (w *Watchdog) Feed() error {
	_, err := w.file.Write([]byte{0})
	return err
}

// Disarm closes the watchdog with the letter that tells it not to fire. A driver with nowayout fires all the same.
func (w *Watchdog) Disarm() error {
	_, err := w.file.WriteString("V")
	return errors.Join(err, w.file.Close())
}
