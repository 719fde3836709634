package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogDevice is a file that takes what a watchdog would, and a driver that rounds the timeout up by extra seconds.
func watchdogDevice(t *testing.T, extra int) (path string, d driver) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var timeout int
	return path, driver{
		set: func(_, seconds int) error { timeout = seconds + extra; return nil },
		get: func(int) (int, error) { return timeout, nil },
	}
}

func written(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWatchdog(t *testing.T) {
	path, d := watchdogDevice(t, 2)
	w, err := arm(path, 4500*time.Millisecond, d)
	if err != nil || w.Timeout != 7*time.Second {
		t.Fatalf("%+v, %v", w, err)
	}
	if err := errors.Join(w.Feed(), w.Feed()); err != nil || written(t, path) != "\x00\x00" {
		t.Errorf("fed: %q, %v", written(t, path), err)
	}
	if err := w.Disarm(); err != nil || written(t, path) != "\x00\x00V" {
		t.Errorf("disarmed: %q, %v", written(t, path), err)
	}
	if w.Feed() == nil {
		t.Error("a watchdog that is disarmed is fed")
	}
}

// A watchdog that cannot do what is needed is disarmed again.
func TestWatchdogRefused(t *testing.T) {
	refused := errors.New("inappropriate ioctl for device")
	says := func(seconds int) driver {
		return driver{func(int, int) error { return nil }, func(int) (int, error) { return seconds, nil }}
	}
	mute := driver{func(int, int) error { return nil }, func(int) (int, error) { return 0, refused }}
	for name, test := range map[string]struct {
		driver driver
		want   string
	}{
		"it cannot be set":     {driver{func(int, int) error { return refused }, nil}, "set its timeout to 5s: inappropriate"},
		"it cannot be read":    {mute, "read its timeout"},
		"it fires too early":   {says(2), "its timeout is 2s: 5s to 30m0s is needed"},
		"it fires much later":  {says(4000), "its timeout is 1h6m40s"},
		"it is no watchdog":    {kernel, "set its timeout to 5s"},
		"its timeout is as is": {says(5), ""},
	} {
		path, _ := watchdogDevice(t, 0)
		w, err := arm(path, 5*time.Second, test.driver)
		if test.want == "" {
			if err != nil || written(t, path) != "" {
				t.Errorf("%s: %v, %q", name, err, written(t, path))
			}
			_ = w.Disarm()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || written(t, path) != "V" {
			t.Errorf("%s: %v, written %q", name, err, written(t, path))
		}
	}
}

func TestArmWithoutADevice(t *testing.T) {
	if _, err := Arm("/nonexistent/watchdog", 10*time.Second); err == nil {
		t.Error("a watchdog that is not there is armed")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	_, err := Arm(link, 10*time.Second)
	if !errors.Is(err, unix.ELOOP) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link: %v", err)
	}
}
