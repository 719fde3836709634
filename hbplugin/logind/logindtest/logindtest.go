package logindtest

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// Patience is how long a test waits for something that must happen.
const Patience = 2 * time.Minute

const (
	login1   = "org.freedesktop.login1"
	manager  = login1 + ".Manager"
	objPath  = dbus.ObjectPath("/org/freedesktop/login1")
	systemd1 = "org.freedesktop.systemd1"
	sysPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitPath = sysPath + "/unit/vmferryd_2eservice"
	getProps = "org.freedesktop.DBus.Properties"
)

// Bus is a private message bus that stands for the system's.
type Bus struct {
	t    testing.TB
	path string
	cmd  *exec.Cmd

	mu      sync.Mutex
	started []string
}

// Started are the units that systemd was asked to start, each with the job's mode, in order.
func (b *Bus) Started() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.started)
}

func (b *Bus) start(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = append(b.started, unit+" "+mode)
	return sysPath + "/job/1", nil
}

// StartBus runs a dbus-daemon, which ends with the test. Without the program
// the test is skipped, except in CI, which must have it.
func StartBus(t testing.TB) *Bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("dbus-daemon is needed: apt-get install dbus")
		}
		t.Skip("dbus-daemon is not installed: apt-get install dbus")
	}
	b := &Bus{t: t, path: filepath.Join(t.TempDir(), "bus")}
	b.Start()
	t.Cleanup(b.Stop)
	return b
}

// Address is what DBUS_SYSTEM_BUS_ADDRESS must say.
func (b *Bus) Address() string { return "unix:path=" + b.path }

// Start runs the daemon, again if need be, until it has printed its address,
// and so listens.
func (b *Bus) Start() {
	b.t.Helper()
	b.cmd = exec.Command("dbus-daemon", "--session", "--nofork", "--print-address", "--address="+b.Address())
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

// Stop kills the daemon, and so every connection to it.
func (b *Bus) Stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	_ = os.Remove(b.path)
}

// Dial connects one more peer, which may be anybody.
func (b *Bus) Dial() *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

// serve exports methods and claims a name once they are there.
func (b *Bus) serve(name string, objects ...object) *dbus.Conn {
	b.t.Helper()
	conn := b.Dial()
	for _, o := range objects {
		if err := conn.ExportMethodTable(o.methods, o.path, o.iface); err != nil {
			b.t.Fatal(err)
		}
	}
	reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatalf("claim %s: %v, %v", name, reply, err)
	}
	return conn
}

type object struct {
	path    dbus.ObjectPath
	iface   string
	methods map[string]any
}

// Announce sends logind's signal over any connection.
func Announce(conn *dbus.Conn, preparing bool) error {
	return conn.Emit(objPath, manager+".PrepareForShutdown", preparing)
}

// AnnounceKind sends the signal with which logind, from systemd 255 on, tells first what kind of shutdown it is.
func AnnounceKind(conn *dbus.Conn, preparing bool, kind string) error {
	return AnnounceKindTo(conn, "", preparing, kind)
}

// AnnounceKindTo sends it to one connection, which need not listen for it; "" is for all that do.
func AnnounceKindTo(conn *dbus.Conn, name string, preparing bool, kind string) error {
	body := []any{preparing, map[string]dbus.Variant{"type": dbus.MakeVariant(kind)}}
	msg := &dbus.Message{
		Type: dbus.TypeSignal, Body: body,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath: dbus.MakeVariant(objPath), dbus.FieldInterface: dbus.MakeVariant(manager),
			dbus.FieldMember:    dbus.MakeVariant("PrepareForShutdownWithMetadata"),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...)),
		},
	}
	if name != "" {
		msg.Headers[dbus.FieldDestination] = dbus.MakeVariant(name)
	}
	return conn.Send(msg, nil).Err
}

// Logind is org.freedesktop.login1 on the private bus. A lock is one end
// of a pipe, as logind's is of a FIFO.
type Logind struct {
	t    testing.TB
	conn *dbus.Conn

	mu        sync.Mutex
	preparing bool
	usec      uint64
	asked     []string   // the arguments of each Inhibit
	ends      []*os.File // what stays here of each lock
	sent      []int      // our copies of what was given out
	others    []Inhibitor
	reads     int
}

// Conn is the connection that has, or had, logind's name.
func (f *Logind) Conn() *dbus.Conn { return f.conn }

// Reads is how often a property was read.
func (f *Logind) Reads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// Inhibitor is a lock that somebody holds, as ListInhibitors has it.
type Inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

// Others says which locks ListInhibitors reports.
func (f *Logind) Others(list ...Inhibitor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.others = list
}

func (f *Logind) list() ([]Inhibitor, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.others, nil
}

// Logind claims logind's name; it knows no shutdown and waits ten minutes.
func (b *Bus) Logind() *Logind {
	b.t.Helper()
	f := &Logind{t: b.t, usec: uint64((10 * time.Minute).Microseconds())}
	f.conn = b.serve(login1,
		object{objPath, manager, map[string]any{"Inhibit": f.inhibit, "ListInhibitors": f.list}},
		object{objPath, getProps, map[string]any{"Get": f.get}})
	return f
}

// Leave gives the name back, as a logind that ends does.
func (f *Logind) Leave() {
	f.t.Helper()
	if _, err := f.conn.ReleaseName(login1); err != nil {
		f.t.Fatal(err)
	}
}

func (f *Logind) inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
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

func (f *Logind) get(iface, name string) (dbus.Variant, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	switch name {
	case "InhibitDelayMaxUSec":
		return dbus.MakeVariant(f.usec), nil
	case "PreparingForShutdown":
		return dbus.MakeVariant(f.preparing), nil
	}
	return dbus.Variant{}, dbus.MakeFailedError(errors.New("no property " + iface + "." + name))
}

// Request returns what the n-th Inhibit was called with.
func (f *Logind) Request(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[n]
}

// Set changes what the properties say, without a word.
func (f *Logind) Set(preparing bool, usec uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.preparing, f.usec = preparing, usec
}

// PrepareKind is Prepare by a logind that tells the kind of shutdown.
func (f *Logind) PrepareKind(preparing bool, kind string) {
	f.t.Helper()
	if err := AnnounceKind(f.conn, preparing, kind); err != nil {
		f.t.Fatal(err)
	}
	f.Prepare(preparing)
}

// Prepare announces a shutdown or calls it off.
func (f *Logind) Prepare(preparing bool) {
	f.t.Helper()
	f.mu.Lock()
	f.preparing = preparing
	f.mu.Unlock()
	if err := Announce(f.conn, preparing); err != nil {
		f.t.Fatal(err)
	}
}

// Released waits until the n-th lock that was given out is closed at the other
// end. The copy that was sent is closed first; it must have arrived by then.
func (f *Logind) Released(n int) error {
	f.mu.Lock()
	end, sent := f.ends[n], f.sent[n]
	f.mu.Unlock()
	if err := syscall.Close(sent); err != nil {
		return err
	}
	if err := end.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	if _, err := end.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return errors.New("the lock is still held")
	}
	return nil
}

// Systemd claims systemd's name: its state as "systemctl is-system-running"
// prints it, and the TimeoutStopUSec of every service. The values may be of
// the wrong type. What is returned changes the state.
func (b *Bus) Systemd(state, stop any) func(state any) {
	b.t.Helper()
	var mu sync.Mutex
	get := func(iface, name string) (dbus.Variant, *dbus.Error) {
		mu.Lock()
		defer mu.Unlock()
		switch name {
		case "SystemState":
			return dbus.MakeVariant(state), nil
		case "TimeoutStopUSec":
			return dbus.MakeVariant(stop), nil
		}
		return dbus.Variant{}, dbus.MakeFailedError(errors.New("no property " + iface + "." + name))
	}
	byPID := func(uint32) (dbus.ObjectPath, *dbus.Error) { return unitPath, nil }
	b.serve(systemd1,
		object{sysPath, systemd1 + ".Manager", map[string]any{"GetUnitByPID": byPID, "StartUnit": b.start}},
		object{sysPath, getProps, map[string]any{"Get": get}},
		object{unitPath, getProps, map[string]any{"Get": get}})
	return func(now any) {
		mu.Lock()
		defer mu.Unlock()
		state = now
	}
}
