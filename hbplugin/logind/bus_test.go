package logind

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// patience is how long a test waits for something that must happen.
const patience = 10 * time.Second

// bus is a private message bus that stands for the system's.
type bus struct {
	t       *testing.T
	address string
	cmd     *exec.Cmd
}

// startBus runs a dbus-daemon and points the system bus's address at it.
// Without one the test is skipped, except in CI, which must have it.
func startBus(t *testing.T) *bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("dbus-daemon is needed: apt-get install dbus")
		}
		t.Skip("dbus-daemon is not installed: apt-get install dbus")
	}
	b := &bus{t: t, address: "unix:path=" + filepath.Join(t.TempDir(), "bus")}
	b.start()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", b.address)
	t.Cleanup(b.stop)
	return b
}

// start runs the daemon until it has printed its address, and so listens.
func (b *bus) start() {
	b.t.Helper()
	b.cmd = exec.Command("dbus-daemon", "--session", "--nofork", "--print-address", "--address="+b.address)
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.t.Fatalf("dbus-daemon printed %q: %v", line, err)
	}
}

func (b *bus) stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	_ = os.Remove(strings.TrimPrefix(b.address, "unix:path="))
}

// fakeLogind is org.freedesktop.login1 on the private bus. A lock is one end
// of a pipe, as logind's is of a FIFO.
type fakeLogind struct {
	t    *testing.T
	conn *dbus.Conn

	mu        sync.Mutex
	preparing bool
	usec      uint64
	asked     []string   // the arguments of each Inhibit
	ends      []*os.File // what stays here of each lock
	sent      []int      // our copies of what was given out
}

// startLogind claims the name; it knows no shutdown.
func startLogind(t *testing.T, b *bus) *fakeLogind {
	t.Helper()
	conn := dial1(t, b)
	f := &fakeLogind{t: t, conn: conn, usec: uint64((10 * time.Minute).Microseconds())}
	methods := map[string]any{"Inhibit": f.inhibit}
	if err := conn.ExportMethodTable(methods, objectPath, manager); err != nil {
		t.Fatal(err)
	}
	get := map[string]any{"Get": f.get}
	if err := conn.ExportMethodTable(get, objectPath, "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	own(t, conn, destination)
	return f
}

func dial1(t *testing.T, b *bus) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func own(t *testing.T, conn *dbus.Conn, name string) {
	t.Helper()
	reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("claim %s: %v, %v", name, reply, err)
	}
}

func (f *fakeLogind) inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, strings.Join([]string{what, who, why, mode}, "|"))
	if f.preparing {
		return 0, dbus.NewError("org.freedesktop.login1.OperationInProgress", []any{"already running"})
	}
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	f.ends = append(f.ends, os.NewFile(uintptr(p[0]), "lock"))
	f.sent = append(f.sent, p[1])
	return dbus.UnixFD(p[1]), nil
}

func (f *fakeLogind) get(iface, name string) (dbus.Variant, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch name {
	case "InhibitDelayMaxUSec":
		return dbus.MakeVariant(f.usec), nil
	case "PreparingForShutdown":
		return dbus.MakeVariant(f.preparing), nil
	}
	return dbus.Variant{}, dbus.MakeFailedError(errors.New("no property " + iface + "." + name))
}

// request returns what the n-th Inhibit was called with.
func (f *fakeLogind) request(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[n]
}

// set changes what the properties say, without a word.
func (f *fakeLogind) set(preparing bool, usec uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.preparing, f.usec = preparing, usec
}

// prepare announces a shutdown or calls it off.
func (f *fakeLogind) prepare(preparing bool) {
	f.t.Helper()
	f.mu.Lock()
	f.preparing = preparing
	f.mu.Unlock()
	emit(f.t, f.conn, preparing)
}

func emit(t *testing.T, conn *dbus.Conn, preparing bool) {
	t.Helper()
	if err := conn.Emit(objectPath, manager+".PrepareForShutdown", preparing); err != nil {
		t.Fatal(err)
	}
}

// released waits until the n-th lock that was given out is closed at the other
// end. The copy that was sent is closed first; it must have arrived by then.
func (f *fakeLogind) released(n int) error {
	f.mu.Lock()
	end, sent := f.ends[n], f.sent[n]
	f.mu.Unlock()
	if err := syscall.Close(sent); err != nil {
		return err
	}
	if err := end.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := end.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return errors.New("the lock is still held")
	}
	return nil
}
