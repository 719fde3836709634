package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/disk"
)

func TestParseConfig(t *testing.T) {
	full := config{
		name: "web1", addr: netip.MustParsePrefix("10.77.0.101/24"),
		gateway: netip.MustParseAddr("10.77.0.1"), disk: "/dev/vda", ledger: "/dev/vdb", interval: 250 * time.Millisecond, noise: 100,
	}
	for _, test := range []struct {
		name, line string
		want       config
	}{
		{"full", "console=ttyS0 vmferry.name=web1 vmferry.ip=10.77.0.101/24 vmferry.gw=10.77.0.1 vmferry.disk=/dev/vda vmferry.ledger=/dev/vdb vmferry.interval=250ms quiet\n", full},
		{"busy", "vmferry.ip=10.77.0.101/24 vmferry.dirty=16 vmferry.dirtyset=32",
			config{name: "guest", addr: full.addr, interval: defaultInterval, dirty: 16, dirtySet: 32, noise: 100}},
		{"least", "vmferry.ip=10.77.0.101/24",
			config{name: "guest", addr: full.addr, interval: defaultInterval, noise: 100}},
		{"half of it noise", "vmferry.ip=10.77.0.101/24 vmferry.dirty=16 vmferry.dirtyset=32 vmferry.noise=50",
			config{name: "guest", addr: full.addr, interval: defaultInterval, dirty: 16, dirtySet: 32, noise: 50}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := parseConfig(test.line); err != nil || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseConfigRefuses(t *testing.T) {
	const ip = "vmferry.ip=10.77.0.101/24 "
	for _, test := range []struct{ line, want string }{
		{"quiet", "no vmferry.ip"},
		{"vmferry.ip=10.77.0.101", "vmferry.ip=10.77.0.101"},
		{"vmferry.ip=fd00::1/64", "not an IPv4 address"},
		{ip + "vmferry.gw=router", "vmferry.gw=router"},
		{ip + "vmferry.gw=fd00::2", "not an IPv4 address"},
		{ip + "vmferry.disk=vda", "not a device"},
		{ip + "vmferry.ledger=vdb", "not a device"},
		{ip + "vmferry.database=vda", "not a device"},
		{ip + "vmferry.interval=100", "vmferry.interval=100"},
		{ip + "vmferry.interval=0s", "not between"},
		{ip + "vmferry.name=", "no value"},
		{ip + "vmferry.dirty=16", "go together"},
		{ip + "vmferry.dirtyset=16", "go together"},
		{ip + "vmferry.dirty=0 vmferry.dirtyset=16", "vmferry.dirty=0: not a number"},
		{ip + "vmferry.dirty=16M vmferry.dirtyset=16", "not a number"},
		{ip + "vmferry.game=yes", "vmferry.game=yes: not 1"},
		{ip + "vmferry.dsk=/dev/vda", "unknown key"},
	} {
		t.Run(test.line, func(t *testing.T) {
			if _, err := parseConfig(test.line); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestCommandLine: what guest.Domain writes is what this program reads.
func TestCommandLine(t *testing.T) {
	s := guest.DomainSpec{Type: "qemu", Name: "web1", IP: "10.77.0.101/24", Gateway: "10.77.0.1",
		Disk: "/shared/web1.qcow2", DirtyMiB: 16, DirtySetMiB: 32, Game: true}
	c, err := parseConfig(s.CommandLine())
	if err != nil || c.name != s.Name || c.addr.String() != s.IP || c.gateway.String() != s.Gateway ||
		c.disk != "/dev/vda" || c.dirty != 16 || c.dirtySet != 32 || !c.game {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestAskProcess1: under its own name the program leaves process 1 alone.
func TestAskProcess1(t *testing.T) {
	for _, name := range []string{"init", "halt", ""} {
		if code := askProcess1(name); code != 2 {
			t.Errorf("%q: exit code %d", name, code)
		}
	}
}

func TestAwaitCard(t *testing.T) {
	if err := awaitCard(t.TempDir(), time.Minute); err != nil {
		t.Error(err)
	}
	if err := awaitCard(t.TempDir()+"/eth0", 0); err == nil {
		t.Error("a card that is not there")
	}
}

// TestAnswer asks the guest's end of the status line with the lab's end.
func TestAnswer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			answer(c, &state{bootID: "5337c000-3d7e-4337-adf3-bf1d41c4b0af", diskFailed: true})
		}
	}()
	got, err := guest.Ask(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got.UptimeMS == 0 {
		t.Error("no uptime")
	}
	got.UptimeMS = 0
	if want := (guest.Status{BootID: "5337c000-3d7e-4337-adf3-bf1d41c4b0af", WriteErrors: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStatusLine(t *testing.T) {
	got := string(statusLine("id",
		disk.Stats{Boots: 2, Counter: 30, CounterAtBoot: 20, ForeignWrites: 4, WriteErrors: 5}, 6*time.Second))
	const want = `{"boot_id":"id","counter":30,"boots":2,"disk_counter_at_boot":20,` +
		`"foreign_writes":4,"write_errors":5,"uptime_ms":6000}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint16(b[16:], kind)
	binary.NativeEndian.PutUint16(b[18:], code)
	binary.NativeEndian.PutUint32(b[20:], value)
	return b
}

func TestPowerPressed(t *testing.T) {
	press, sync := event(evKey, keyPower, 1), event(0, 0, 0)
	for _, test := range []struct {
		name   string
		events []byte
		want   bool
	}{
		{"press", press, true},
		{"press after others", append(event(evKey, 30, 1), press...), true},
		{"release", event(evKey, keyPower, 0), false},
		{"other key", event(evKey, 30, 1), false},
		{"other type with the same code", event(4, keyPower, 1), false},
		{"only sync", sync, false},
		{"cut off", press[:23], false},
		{"nothing", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := powerPressed(test.events); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestReadButton hands the events over through a pipe in place of a device.
func TestReadButton(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	off := make(chan struct{}, 1)
	go readButton(r, off)
	if _, err := w.Write(event(evKey, keyPower, 1)); err != nil {
		t.Fatal(err)
	}
	<-off
	w.Close()
}

func TestNetmask(t *testing.T) {
	for bits, want := range map[int]string{0: "0.0.0.0", 8: "255.0.0.0", 24: "255.255.255.0", 25: "255.255.255.128",
		32: "255.255.255.255"} {
		if got := netmask(bits).String(); got != want {
			t.Errorf("/%d: got %s, want %s", bits, got, want)
		}
	}
}

// TestRouteSize: the kernel copies sizeof(struct rtentry) bytes.
func TestRouteSize(t *testing.T) {
	if got := unsafe.Sizeof(rtentry{}); got != 120 {
		t.Errorf("struct rtentry has %d bytes, want 120", got)
	}
}

func FuzzPowerPressed(f *testing.F) {
	f.Add(event(evKey, keyPower, 1))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, events []byte) {
		if powerPressed(events) && len(events) < eventSize {
			t.Error("pressed by less than one event")
		}
	})
}

// The guest does not report that it is back before its clients can be answered. A socket
// that is bound and does not listen keeps the port, and refuses whoever asks.
func TestAwaitService(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		awaitService(fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port))
		close(done)
	}()
	select {
	case <-done:
		t.Fatal("it did not wait")
	case <-time.After(2 * retryPause):
	}
	if err := syscall.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	<-done
}

// TestRound: what ends is started again, and what cannot be started holds up nothing else.
func TestRound(t *testing.T) {
	starts := 0
	short := program(nil, "/proc/self/exe", "-test.list=^$")
	again := &service{name: "short", start: func() (int, error) { starts++; return short.start() }}
	broken := &service{name: "broken", start: func() (int, error) { return 0, syscall.ENOENT }}
	lines := round([]*service{again})
	if starts != 1 || again.pid != 0 || !slices.Equal(lines, []string{"short ended, starting it again"}) {
		t.Errorf("%d starts, process %d, %q", starts, again.pid, lines)
	}
	lines = round([]*service{broken, again})
	if starts != 2 || len(lines) == 0 || lines[0] != "start broken: no such file or directory" {
		t.Errorf("%d starts, %q", starts, lines)
	}
	for again.pid != 0 {
		round([]*service{again})
	}
	if starts != 2 {
		t.Errorf("%d starts of a process that ran", starts)
	}
}

// TestPorts: where the guest listens is where the lab asks.
func TestPorts(t *testing.T) {
	for _, test := range []struct{ here, there int }{
		{lightPort, guest.ReflectorPort}, {blackoutPort, guest.BlackoutPort}, {gamePort, guest.GamePort},
	} {
		if test.here != test.there {
			t.Errorf("port %d in the guest, %d for the lab", test.here, test.there)
		}
	}
}
