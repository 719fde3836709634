package logind

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/logind/logindtest"
)

// names are all connections to the bus.
func names(t *testing.T, conn *dbus.Conn) []string {
	t.Helper()
	var all []string
	if err := conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// newcomer is the unique name of the connection that is there besides those of a list and the asking one.
func newcomer(t *testing.T, conn *dbus.Conn, others []string) string {
	t.Helper()
	for _, name := range names(t, conn) {
		if strings.HasPrefix(name, ":") && !slices.Contains(others, name) && !slices.Contains(conn.Names(), name) {
			return name
		}
	}
	t.Fatal("nobody has come")
	return ""
}

// hostile are messages that any local user may send to a connection.
func hostile(name string) []*dbus.Message {
	to := func(kind dbus.Type, member string, body ...any) *dbus.Message {
		m := &dbus.Message{Type: kind, Flags: dbus.FlagNoReplyExpected, Body: body,
			Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(name),
				dbus.FieldPath:        dbus.MakeVariant(objectPath), dbus.FieldInterface: dbus.MakeVariant(manager),
				dbus.FieldMember: dbus.MakeVariant(member),
			}}
		if len(body) > 0 {
			m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
		}
		return m
	}
	moved := to(dbus.TypeSignal, "NameOwnerChanged", destination, ":1.1", "")
	moved.Headers[dbus.FieldInterface] = dbus.MakeVariant(busName)
	forged := to(dbus.TypeMethodReply, "Get", dbus.MakeVariant(true))
	forged.Headers[dbus.FieldReplySerial] = dbus.MakeVariant(uint32(7))
	return []*dbus.Message{
		to(dbus.TypeSignal, "PrepareForShutdown", true), moved, forged,
		to(dbus.TypeMethodCall, "PrepareForShutdown", true),
		to(dbus.TypeSignal, "PrepareForShutdown", bytes.Repeat([]byte{1}, 1<<12)),
	}
}

// TestStorm has two users send all that they may to every connection. Nothing is kept of it and nothing follows from
// it: no goroutine, no question to logind, no lock; and what logind announces meanwhile is heard.
func TestStorm(t *testing.T) {
	b := startBus(t)
	f := b.Logind()
	others := names(t, b.Dial())
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	victim := newcomer(t, b.Dial(), others)
	quiet := runtime.NumGoroutine()
	asked := f.Reads()

	const each = 10_000
	var senders sync.WaitGroup
	var sent atomic.Int64
	for range 2 {
		anybody := b.Dial()
		senders.Go(func() {
			messages := hostile(victim)
			for n := range each {
				m := *messages[n%len(messages)] // which Send numbers
				if anybody.Send(&m, nil).Err != nil {
					return
				}
				sent.Add(1)
			}
		})
	}
	senders.Wait()
	// A round trip after the storm: the bus has passed on all that was sent.
	names(t, b.Dial())
	f.Prepare(true)
	e.until("the announcement in the storm", func(e Event) bool { return e.Preparing })
	if got := runtime.NumGoroutine(); got > quiet+50 {
		t.Errorf("%d goroutines before and %d after %d hostile messages", quiet, got, sent.Load())
	}
	if got := f.Reads() - asked; got > 4 {
		t.Errorf("logind was asked %d times because of others' messages", got)
	}
	if sent.Load() < 2*each {
		t.Errorf("only %d messages were sent", sent.Load())
	}
}

// TestStormIsToldOnce: the journal must not fill.
func TestStormIsToldOnce(t *testing.T) {
	b := startBus(t)
	f := b.Logind()
	others := names(t, b.Dial())
	var lines bytes.Buffer
	log := logrus.New()
	log.SetOutput(&lines)
	e := listenTo(t, log)
	first := e.locked()
	defer first.Lock.Close()
	anybody := b.Dial()
	victim := newcomer(t, anybody, append(others, anybody.Names()...))
	for range 10 {
		for _, m := range hostile(victim) {
			if err := anybody.Send(m, nil).Err; err != nil {
				t.Fatal(err)
			}
		}
	}
	names(t, anybody)
	f.Prepare(true)
	e.until("the announcement", func(e Event) bool { return e.Preparing })
	e.stop(t)
	if n := strings.Count(lines.String(), "ignored a D-Bus message"); n != 1 {
		t.Errorf("%d lines of it:\n%s", n, lines.String())
	}
}

// TestOwnerMoves: who has logind's name is heard, and who had it is not any more.
func TestOwnerMoves(t *testing.T) {
	b := startBus(t)
	f := b.Logind()
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	f.Leave()
	e.lost()
	again := b.Logind()
	e.locked().Lock.Close()
	if err := logindtest.AnnounceKind(f.Conn(), true, "halt"); err != nil {
		t.Fatal(err)
	}
	again.Prepare(true)
	if event := e.until("the announcement", func(e Event) bool { return e.Preparing }); event.Kind != "" {
		t.Errorf("kind %q by a logind that has gone", event.Kind)
	}
}

// TestDescriptorsFromOthers: a lock's connection may receive file descriptors, and keeps no other's.
func TestDescriptorsFromOthers(t *testing.T) {
	bus := startBus(t)
	bus.Logind()
	b, err := connectTo(t.Context(), destination, settings{fds: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	before := openFiles(t)
	anybody := bus.Dial()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for range 100 {
		fds := make([]dbus.UnixFD, 10)
		for i := range fds {
			fds[i] = dbus.UnixFD(null.Fd())
		}
		m := hostile(b.Names()[0])[0]
		m.Body = []any{fds}
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
		m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(len(fds)))
		if err := anybody.Send(m, nil).Err; err != nil {
			t.Fatal(err)
		}
	}
	names(t, anybody)
	names(t, b.Conn) // which comes after all that was sent to it
	if now := openFiles(t); now > before+10 {
		t.Errorf("%d descriptors before and %d after others sent some", before, now)
	}
}

// TestNoLockOfOthers: a descriptor that somebody sends beside logind's answer does not take the place of the lock. A
// long header, or a field that nobody knows, does not hide it.
func TestNoLockOfOthers(t *testing.T) {
	long := dbus.MakeVariant(dbus.ObjectPath("/" + strings.Repeat("x", 2*maxHeader)))
	for name, spoil := range map[string]func(m *dbus.Message){
		"plain":  func(*dbus.Message) {},
		"long":   func(m *dbus.Message) { m.Headers[dbus.FieldPath] = long },
		"unseen": func(m *dbus.Message) { m.Headers[200] = dbus.MakeVariant(byte(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			bus := startBus(t)
			bus.Logind()
			b, err := connectTo(t.Context(), destination, settings{fds: true})
			if err != nil {
				t.Fatal(err)
			}
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			anybody := bus.Dial()
			for range 10 { // godbus writes the fields in any order
				m := hostile(b.Names()[0])[0]
				m.Body = []any{dbus.UnixFD(null.Fd())}
				m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
				m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(1))
				spoil(m)
				if err := anybody.Send(m, nil).Err; err != nil {
					t.Fatal(err)
				}
			}
			names(t, anybody)
			call := b.Object(destination, objectPath).Call(manager+".Inhibit", 0, "shutdown", "who", "why", "delay")
			fds := b.end()
			defer shut(fds)
			if call.Err != nil || len(fds) != 1 {
				t.Fatalf("%v, %d descriptors", call.Err, len(fds))
			}
			if file, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fds[0])); err != nil || file == os.DevNull {
				t.Errorf("the lock is %q, %v", file, err)
			}
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSocketOf(t *testing.T) {
	for address, want := range map[string]string{
		"":                                 "/var/run/dbus/system_bus_socket",
		"unix:path=/run/a%20b,guid=00":     "/run/a b",
		"tcp:host=x;unix:guid=1,path=/run": "/run",
		"unix:abstract=/tmp/x":             "@/tmp/x",
		"tcp:host=x":                       "",
		"unix:path=%zz":                    "",
	} {
		if got, err := socketOf(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", address, got, err, want)
		}
	}
}

// FuzzParseFields compares with godbus what a message's header says of its sender.
func FuzzParseFields(f *testing.F) {
	for _, m := range append(hostile(":1.7"), hostile("org.x")...) {
		m.Headers[dbus.FieldSender] = dbus.MakeVariant(":1.9")
		var wire bytes.Buffer
		if err := m.EncodeTo(&wire, binary.LittleEndian); err != nil {
			f.Fatal(err)
		}
		f.Add(wire.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < fixedHeader {
			return
		}
		frame, err := parseFrame(b)
		if err != nil || frame.fields > int64(len(b)-fixedHeader) {
			return
		}
		got := parseFields(frame.order, b[fixedHeader:fixedHeader+frame.fields])
		if got == "" {
			return
		}
		// godbus allocates what a length says, true or not: those of the fields are true by now, and in a body of zeros
		// there is none.
		const body = 64
		clean := bytes.Clone(b[:fixedHeader+frame.fields])
		frame.order.PutUint32(clean[4:], body)
		clean = append(clean, make([]byte, body+(8-len(clean)%8)%8)...)
		m, err := dbus.DecodeMessage(bytes.NewReader(clean))
		if err != nil {
			return
		}
		want, _ := m.Headers[dbus.FieldSender].Value().(string)
		if got != want {
			t.Errorf("sender %q, godbus says %q", got, want)
		}
	})
}
