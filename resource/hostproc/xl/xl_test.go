package xl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/resource/hostproc"
)

const (
	header = "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label\n"
	dom0   = "Domain-0                                     0   896     1     r-----      30.5 00000000-0000-0000-0000-000000000000        -                -\n"
	uuidA  = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"
	uuidB  = "11111111-2222-3333-4444-555555555555"
)

// line is one of xl's, as its printf makes it.
func line(name string, id int, state, uuid string) string {
	reason := "       -"
	if state[3] == 's' {
		reason = "       0"
	}
	return fmt.Sprintf("%-40s %5d %5d %5d     %s  %8.1f %s %s %16s\n", name, id, 128, 1, state, 1.5, uuid, reason, "-")
}

func TestParse(t *testing.T) {
	guest := func(change func(*hostproc.Process)) []hostproc.Process {
		p := hostproc.Process{PID: 3, Name: "vm1", UUID: uuidA, Domain: true}
		change(&p)
		return []hostproc.Process{p}
	}
	is := func(c hostproc.Condition) func(*hostproc.Process) {
		return func(p *hostproc.Process) { p.Condition = c }
	}
	for _, c := range []struct {
		name, text string
		want       []hostproc.Process
	}{
		{"no guest", header + dom0, nil},
		{"running", header + dom0 + line("vm1", 3, "r-----", uuidA), guest(is(hostproc.Alive))},
		{"blocked", header + dom0 + line("vm1", 3, "-b----", uuidA), guest(is(hostproc.Alive))},
		{"just created", header + dom0 + line("vm1", 3, "------", uuidA), guest(is(hostproc.Alive))},
		{"paused", header + dom0 + line("vm1", 3, "--p---", uuidA), guest(func(p *hostproc.Process) { p.Incoming = true })},
		{"suspended", header + dom0 + line("vm1", 3, "---ss-", uuidA), guest(is(hostproc.Halted))},
		{"off", header + dom0 + line("vm1", 3, "---s--", uuidA), guest(is(hostproc.Ending))},
		{"rebooting", header + dom0 + line("vm1", 3, "---sr-", uuidA), guest(is(hostproc.Ending))},
		{"off, for a reason that is new", header + dom0 + line("vm1", 3, "---s?-", uuidA), guest(is(hostproc.Ending))},
		{"crashed", header + dom0 + line("vm1", 3, "---sc-", uuidA), guest(is(hostproc.Broken))},
		{"watchdog", header + dom0 + line("vm1", 3, "---sw-", uuidA), guest(is(hostproc.Broken))},
		{"dying", header + dom0 + line("vm1", 3, "-b---d", uuidA), guest(is(hostproc.Ending))},
		{"dying after a suspend", header + dom0 + line("vm1", 3, "--pssd", uuidA),
			guest(func(p *hostproc.Process) { p.Condition, p.Incoming = hostproc.Ending, true })},
		{"without a name", header + dom0 + line("(null)", 3, "-----d", uuidA),
			guest(func(p *hostproc.Process) { p.Name, p.Condition = "", hostproc.Ending })},
		{"received", header + dom0 + line("vm1--incoming", 3, "------", uuidA),
			guest(func(p *hostproc.Process) { p.Name, p.Incoming = "vm1--incoming", true })},
		{"moved away", header + dom0 + line("vm1--migratedaway", 3, "------", uuidA),
			guest(func(p *hostproc.Process) { p.Name, p.Condition = "vm1--migratedaway", hostproc.Halted })},
		{"long name with blanks", header + dom0 + line("a guest whose name is longer than the column is", 3, "-b----", uuidA),
			guest(func(p *hostproc.Process) { p.Name = "a guest whose name is longer than the column is" })},
		{"no guest's reason and label", header + dom0 + strings.TrimRight(line("vm1", 3, "-b----", uuidA), " -\n"),
			guest(is(hostproc.Alive))},
	} {
		got, err := parse(c.text)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

// What is not understood proves nothing.
func TestCannotTell(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "",
		"no Domain-0":    header + line("vm1", 3, "-b----", uuidA),
		"cut":            header + dom0 + line("vm1", 3, "-b----", uuidA)[:60],
		"no header":      dom0,
		"without a UUID": "Name ID Mem VCPUs State Time(s)\n" + dom0,
		"another line":   header + dom0 + "libxl: error: something\n",
		"number too long": header + dom0 + strings.Replace(line("vm1", 3, "-b----", uuidA), "     3 ",
			" 99999999999999999999 ", 1),
	} {
		h := Host{Run: func(context.Context, ...string) (string, error) { return text, nil }}
		if found, err := h.Find(t.Context(), "vm1", uuidA); !errors.Is(err, hostproc.ErrIncomplete) || len(found) > 0 {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
	h := Host{Run: func(ctx context.Context, _ ...string) (string, error) { <-ctx.Done(); return "", ctx.Err() }}
	synctest.Test(t, func(t *testing.T) {
		if _, err := h.List(t.Context()); !errors.Is(err, hostproc.ErrIncomplete) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a xl that hangs: %v", err)
		}
	})
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name, uuid, lines string
		ids               []int
		unsure            bool
	}{
		{"by UUID", uuidA, line("renamed", 3, "-b----", uuidA) + line("vm1", 4, "-b----", uuidB), []int{3}, false},
		{"both ends of a move to here", uuidA,
			line("vm1--migratedaway", 3, "---ss-", uuidA) + line("vm1--incoming", 4, "--p---", uuidA), []int{3, 4},
			false},
		{"by name", "", line("vm1", 3, "-b----", uuidA) + line("vm10", 4, "-b----", uuidB), []int{3}, false},
		{"by a name of xl's", "", line("vm1--incoming", 3, "--p---", uuidA), []int{3}, false},
		{"another UUID", uuidB, line("vm1", 3, "-b----", uuidA), []int{3}, false},
		{"nameless and not ours", uuidB, line("(null)", 3, "-----d", uuidA), nil, false},
		{"nameless, and maybe ours", "", line("(null)", 3, "-----d", uuidA), nil, true},
		{"not here", uuidA, line("vm2", 3, "-b----", uuidB), nil, false},
	} {
		h := Host{Run: func(context.Context, ...string) (string, error) { return header + dom0 + c.lines, nil }}
		found, err := h.Find(t.Context(), "vm1", c.uuid)
		var ids []int
		for _, p := range found {
			ids = append(ids, p.PID)
		}
		if !slices.Equal(ids, c.ids) || errors.Is(err, hostproc.ErrIncomplete) != c.unsure {
			t.Errorf("%s: found %v, %v", c.name, ids, err)
		}
	}
}

// xen is a hypervisor with one guest, which does what it is told.
type xen struct {
	state string // "" where it is gone
	uuid  string
	calls []string
	deaf  bool  // it does not shut down
	slow  int   // looks at it until a domain that is destroyed is gone
	fails error // of whatever is not a listing
}

func (x *xen) run(_ context.Context, args ...string) (string, error) {
	if args[0] == "list" {
		if x.state == "-----d" {
			if x.slow--; x.slow < 0 {
				x.state = ""
			}
		}
		if x.state == "" {
			return header + dom0, nil
		}
		return header + dom0 + line("vm1", 3, x.state, x.uuid), nil
	}
	x.calls = append(x.calls, strings.Join(args, " "))
	if x.fails != nil {
		return "", x.fails
	}
	switch {
	case args[0] == "destroy":
		x.state = "-----d"
	case args[0] == "resume":
		x.state = "-b----"
	case !x.deaf:
		x.state = "---s--"
	}
	return "", nil
}

func TestEnd(t *testing.T) {
	guest := hostproc.Process{PID: 3, Name: "vm1", UUID: uuidA, Domain: true}
	kill := func(ctx context.Context, h Host) error { return h.Kill(ctx, guest, time.Second) }
	shutdown := func(mode string) func(context.Context, Host) error {
		return func(ctx context.Context, h Host) error { return h.Shutdown(ctx, guest, mode) }
	}
	for _, c := range []struct {
		name  string
		xen   xen
		do    func(context.Context, Host) error
		calls string
		gone  bool
	}{
		{"killed", xen{state: "-b----", uuid: uuidA, slow: 3}, kill, "destroy 3", true},
		{"killed while it stands still", xen{state: "---ss-", uuid: uuidA}, kill, "destroy 3", true},
		{"gone before", xen{}, kill, "", true},
		{"its number is another's", xen{state: "-b----", uuid: uuidB}, kill, "", true},
		{"shut down", xen{state: "-b----", uuid: uuidA}, shutdown(""), "shutdown -F 3; destroy 3", true},
		{"shut down by the button", xen{state: "-b----", uuid: uuidA}, shutdown("acpi"), "trigger 3 power; destroy 3", true},
		{"shut down already", xen{state: "---s--", uuid: uuidA}, shutdown(""), "destroy 3", true},
		{"deaf", xen{state: "-b----", uuid: uuidA, deaf: true}, shutdown(""), "shutdown -F 3", false},
		{"stands still and cannot act", xen{state: "---ss-", uuid: uuidA}, shutdown(""), "", false},
		{"xl fails", xen{state: "-b----", uuid: uuidA, fails: errors.New("destroy failed (rc=-3)")}, kill, "destroy 3", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err := c.do(ctx, Host{Run: c.xen.run})
				if calls := strings.Join(c.xen.calls, "; "); calls != c.calls || (err == nil) != c.gone {
					t.Errorf("called %q: %v", calls, err)
				}
			})
		})
	}
}

func TestWake(t *testing.T) {
	for _, c := range []struct{ state, calls string }{{"---ss-", "resume 3"}, {"-b----", ""}, {"", ""}, {"-----d", ""}} {
		x := xen{state: c.state, uuid: uuidA, slow: 2}
		h := Host{Run: x.run}
		halted, err := h.Halted(t.Context(), "vm1", uuidA)
		if err != nil || halted != (c.calls != "") {
			t.Errorf("%q stands still: %t, %v", c.state, halted, err)
		}
		err = h.Wake(t.Context(), "vm1", uuidA)
		if calls := strings.Join(x.calls, "; "); calls != c.calls || (err == nil) != halted {
			t.Errorf("%q: called %q, %v", c.state, calls, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(header + dom0 + line("vm1", 3, "-b----", uuidA))
	f.Add(header + dom0 + line("(null)", 3, "---ssd", uuidA))
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parse(text)
		if err == nil && !strings.Contains(text, "\n") {
			t.Errorf("%q is a whole listing", text)
		}
		for _, p := range all {
			if p.PID == 0 || len(p.UUID) != len(uuidA) || !p.Domain {
				t.Errorf("%q has %+v", text, p)
			}
		}
	})
}
