package scenario

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseQEMU(t *testing.T) {
	for _, test := range []struct {
		name     string
		cmdline  string
		guest    string
		incoming bool
		ok       bool
	}{
		{"running", "/usr/bin/qemu-system-x86_64 -name guest=vm1,debug-threads=on -S -m 128", "vm1", false, true},
		{"incoming", "/usr/bin/qemu-system-x86_64 -name guest=vm1 -S -incoming defer", "vm1", true, true},
		{"capabilities", "/usr/bin/qemu-system-x86_64 -S -no-user-config -machine none,accel=kvm:tcg", "", false,
			false},
		{"image tool", "/usr/bin/qemu-img create -name guest=vm1", "", false, false},
		{"kernel thread", "", "", false, false},
		{"name is last", "qemu-system-x86_64 -name", "", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmdline := strings.ReplaceAll(test.cmdline, " ", "\x00") + "\x00"
			guest, incoming, ok := parseQEMU([]byte(cmdline))
			if guest != test.guest || incoming != test.incoming || ok != test.ok {
				t.Errorf("got %q, %v, %v", guest, incoming, ok)
			}
		})
	}
}

func FuzzParseQEMU(f *testing.F) {
	f.Add([]byte("qemu-system-x86_64\x00-name\x00guest=vm1\x00-incoming\x00"))
	f.Add([]byte("qemu-system-\x00-name"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, cmdline []byte) {
		if guest, _, ok := parseQEMU(cmdline); ok && guest == "" {
			t.Error("a QEMU without a guest")
		}
	})
}

// fakeProc is a /proc that a test fills.
type fakeProc struct {
	t    *testing.T
	path string
}

func (p fakeProc) start(pid int, node, cmdline string) {
	p.t.Helper()
	dir := filepath.Join(p.path, strconv.Itoa(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cmdline": strings.ReplaceAll(cmdline, " ", "\x00") + "\x00",
		"cgroup":  "0::/vmferry-lab-0123/" + node + "/payload/machine.slice/x\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p fakeProc) end(pid int) {
	if err := os.RemoveAll(filepath.Join(p.path, strconv.Itoa(pid))); err != nil {
		p.t.Fatal(err)
	}
}

func (p fakeProc) zombie(pid int) {
	if err := os.Truncate(filepath.Join(p.path, strconv.Itoa(pid), "cmdline"), 0); err != nil {
		p.t.Fatal(err)
	}
}

const qemu = "/usr/bin/qemu-system-x86_64 -name guest=vm1"

func TestWatchSeesWholeLives(t *testing.T) {
	proc := fakeProc{t, t.TempDir()}
	w := &Watch{Proc: proc.path}
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	look := func(second int) {
		t.Helper()
		if err := w.look(at(second)); err != nil {
			t.Fatal(err)
		}
	}
	proc.start(10, "node1", "/usr/sbin/libvirtd") // forked: not QEMU yet
	proc.start(11, "node1", "sleep 5")
	look(1)
	proc.start(10, "node1", qemu)
	look(2)
	proc.start(12, "node2", qemu+" -incoming defer")
	look(3)
	proc.zombie(10)
	look(4)
	proc.end(10)
	look(5)
	want := []Copy{
		{Guest: "vm1", Node: "node1", ID: 10, Seen: at(2), Gone: at(4)},
		{Guest: "vm1", Node: "node2", ID: 12, Incoming: true, Seen: at(3)},
	}
	got := w.Copies()
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("copy %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	if now := nodesOf(whereNow("vm1", got)); len(now) != 1 || now[0] != "node2" {
		t.Errorf("it runs on %v", now)
	}
}

func TestSightDue(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		name string
		s    sight
		now  int
		want bool
	}{
		{"young", sight{met: at(0), seen: at(9980)}, 9999, true},
		{"old, and looked at lately", sight{met: at(0), seen: at(9980)}, 10_000, false},
		{"old, and not looked at for long", sight{met: at(0), seen: at(10_000)}, 10_500, true},
		{"QEMU", sight{qemu: true, met: at(0), seen: at(0)}, 20_000, false},
	} {
		if got := c.s.due(at(c.now)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// One that becomes QEMU late in its life is seen too.
func TestWatchSeesALateExec(t *testing.T) {
	proc := fakeProc{t, t.TempDir()}
	w := &Watch{Proc: proc.path}
	proc.start(10, "node1", "/usr/sbin/libvirtd")
	for second := range 14 {
		if second == 12 {
			proc.start(10, "node1", qemu)
		}
		if err := w.look(time.Unix(int64(second), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Copies(); len(got) != 1 || got[0].Seen != time.Unix(12, 0) {
		t.Errorf("%+v", got)
	}
}

func TestWatchIgnoresOtherPeoplesQEMU(t *testing.T) {
	proc := fakeProc{t, t.TempDir()}
	proc.start(10, "node1", qemu)
	cgroup := filepath.Join(proc.path, "10/cgroup")
	if err := os.WriteFile(cgroup, []byte("0::/user.slice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &Watch{Proc: proc.path}
	if err := w.look(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := w.Copies(); len(got) > 0 {
		t.Errorf("took %+v for the lab's", got)
	}
}

func TestParseEvent(t *testing.T) {
	for _, test := range []struct {
		line string
		want Event
		ok   bool
	}{
		{"event STOP at 1763700000.000123 for domain 'vm1': <null>",
			Event{At: time.Unix(1763700000, 123000), Node: "node1", Guest: "vm1", Name: "STOP"}, true},
		{`event MIGRATION at 1763700000.500000 for domain 'vm1': {"status":"completed"}`,
			Event{At: time.Unix(1763700000, 500000000), Node: "node1", Guest: "vm1", Name: "MIGRATION",
				Data: `{"status":"completed"}`}, true},
		{"events received: 4", Event{}, false},
		{"event STOP at 99999999999999999999.000000 for domain 'vm1': <null>", Event{}, false},
		{"", Event{}, false},
	} {
		got, ok := parseEvent("node1", test.line)
		if ok != test.ok || got != test.want {
			t.Errorf("%q: got %+v, %v", test.line, got, ok)
		}
	}
}
