package heartbeat

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
)

var (
	errExit    = errors.New("exit status 1")
	errRefused = errors.New("cannot signon")
)

// programs is a fake of Heartbeat's command line: what is run, and what it
// answers, by the words behind the program's name.
type programs struct {
	answer map[string]string
	fail   map[string]error
	ran    []string
}

func (p *programs) run(_ context.Context, program string, args ...string) (string, error) {
	words := strings.Join(args, " ")
	p.ran = append(p.ran, filepath.Base(program)+" "+words)
	return p.answer[words], p.fail[words]
}

// pair is a node1 in the given state with its peer in the given status.
func pair(state, peer string) *programs {
	return &programs{
		answer: map[string]string{"rscstatus": state + "\n", "listnodes -n": "node2\nnode1\n",
			"nodestatus node2": peer + "\n"},
		fail: map[string]error{},
	}
}

const haresources = "node1 vmferry::web\nnode2 vmferry::/srv/mail.xml\n"

func client(t *testing.T, p *programs) *Client {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	show(t, filepath.Join(dir, "proc"), hostproctest.Process{PID: 1, Comm: "systemd"})
	show(t, filepath.Join(dir, "proc"), hostproctest.Process{PID: 77, Comm: "heartbeat"})
	return &Client{
		Node: "Node1", Run: p.run, Proc: filepath.Join(dir, "proc"), PIDFile: write("pid", "        77\n"),
		Haresources: write("haresources", haresources), Scripts: "/share",
	}
}

// show adds a process to a procfs.
func show(t *testing.T, proc string, p hostproctest.Process) {
	t.Helper()
	if err := p.Write(proc); err != nil {
		t.Fatal(err)
	}
}

func TestDaemonAlive(t *testing.T) {
	const session = "0::/user.slice/user-1000.slice/session-2.scope\n"
	for _, tt := range []struct {
		name, pid string
		process   hostproctest.Process
		want      bool
		err       string
	}{
		{"alive", "77\n", hostproctest.Process{Comm: "heartbeat"}, true, ""},
		{"as a service", "77", hostproctest.Process{Comm: "heartbeat",
			Cgroup: "0::/system.slice/heartbeat.service\n"}, true, ""},
		{"from a shell", "77", hostproctest.Process{Comm: "heartbeat", Cgroup: session,
			Exe: "/usr/lib/heartbeat/heartbeat"}, true, ""},
		{"a zombie", "77", hostproctest.Process{Comm: "heartbeat", State: 'Z'}, false, ""},
		{"its number is somebody else's", "77", hostproctest.Process{Comm: "sh"}, false, ""},
		{"a name that pretends", "77", hostproctest.Process{Comm: "heartbeat) S 1 ("}, false, ""},
		{"a user's that is called so", "77", hostproctest.Process{Comm: "heartbeat", User: 1000}, false, ""},
		{"a user's by a set-user-ID program", "77",
			hostproctest.Process{Comm: "heartbeat", Cgroup: session, Exe: "/usr/bin/sudo"}, false, ""},
		{"a container's", "77", hostproctest.Process{Comm: "heartbeat", Nested: true}, false, ""},
		{"it has died", "78", hostproctest.Process{Comm: "heartbeat"}, false, ""},
		{"no number", "heartbeat", hostproctest.Process{}, false, "names no process"},
		{"a group", "-77", hostproctest.Process{}, false, "names no process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, &programs{})
			if err := os.WriteFile(c.PIDFile, []byte(tt.pid), 0o644); err != nil {
				t.Fatal(err)
			}
			tt.process.PID = 77
			show(t, c.Proc, tt.process)
			got, err := daemonAlive(t.Context(), c.PIDFile, hostproc.Host{Proc: c.Proc})
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil &&
				!strings.Contains(err.Error(), tt.err) {
				t.Errorf("%t, %v; want %t, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestDaemonCannotBeSeen(t *testing.T) {
	c := client(t, &programs{})
	if got, err := daemonAlive(t.Context(), filepath.Join(t.TempDir(), "none"), hostproc.Host{Proc: c.Proc}); got || err != nil {
		t.Errorf("no PID file: %t, %v", got, err)
	}
	if _, err := daemonAlive(t.Context(), t.TempDir(), hostproc.Host{Proc: c.Proc}); err == nil {
		t.Error("the PID file cannot be read, and yet an answer")
	}
	hidden := t.TempDir()
	if _, err := daemonAlive(t.Context(), c.PIDFile, hostproc.Host{Proc: hidden}); !errors.Is(err, hostproc.ErrIncomplete) {
		t.Errorf("processes are hidden: %v", err)
	}
	stat := filepath.Join(c.Proc, "77", "stat")
	if err := errors.Join(os.Remove(stat), os.Mkdir(stat, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := daemonAlive(t.Context(), c.PIDFile, hostproc.Host{Proc: c.Proc}); err == nil {
		t.Error("the process cannot be read, and yet an answer")
	}
}

func TestViewWithoutHeartbeat(t *testing.T) {
	p := pair("all", "active")
	c := client(t, p)
	c.PIDFile += ".none"
	v, err := c.View(t.Context())
	if err != nil || v.Running || len(p.ran) > 0 {
		t.Errorf("%+v, %v, ran %q", v, err, p.ran)
	}
}

func TestView(t *testing.T) {
	web, mail := hbplugin.Guest{Name: "web"}, hbplugin.Guest{Name: "/srv/mail.xml"}
	moving := func(g hbplugin.Guest) hbplugin.Guest { g.Moving = true; return g }
	alone := func(g hbplugin.Guest) hbplugin.Guest { g.Stuck = "no other node is active"; return g }
	for _, tt := range []struct {
		state, peer string
		standby     bool
		guests      []hbplugin.Guest
	}{
		{"none", "active", true, nil},
		{"none", "dead", true, nil},
		{"local", "active", false, []hbplugin.Guest{web}},
		{"foreign", "active", false, []hbplugin.Guest{mail}},
		{"all", "active", false, []hbplugin.Guest{web, mail}},
		{"transition", "active", true, []hbplugin.Guest{moving(web), moving(mail)}},
		{"transition", "dead", true, []hbplugin.Guest{moving(web), moving(mail)}},
		{"all", "dead", true, []hbplugin.Guest{alone(web), alone(mail)}},
		{"local", "init", true, []hbplugin.Guest{alone(web)}},
		{"foreign", "up", true, []hbplugin.Guest{alone(mail)}},
	} {
		t.Run(tt.state+" "+tt.peer, func(t *testing.T) {
			want := hbplugin.View{Running: true, Standby: tt.standby, Guests: tt.guests}
			got, err := client(t, pair(tt.state, tt.peer)).View(t.Context())
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// A line that Heartbeat cannot find keeps its own reason on a node alone.
func TestViewOfALineThatIsNotFound(t *testing.T) {
	c := client(t, pair("local", "dead"))
	if err := os.WriteFile(c.Haresources, []byte("node1 vmferry::web::x=a+b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := c.View(t.Context())
	if err != nil || len(v.Guests) != 1 || !strings.Contains(v.Guests[0].Stuck, "cannot find its line") {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestViewFails(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(*programs, *Client)
	}{
		{"not a state", "cannot signon", func(p *programs, _ *Client) { p.fail["rscstatus"] = errRefused }},
		{"another state", `"" is not a state`, func(p *programs, _ *Client) { p.answer["rscstatus"] = "" }},
		{"no haresources", "find heartbeat's guests", func(_ *programs, c *Client) { c.Haresources += ".none" }},
		{"no nodes", "no node is listed", func(p *programs, _ *Client) { p.answer["listnodes -n"] = "\n" }},
		{"nodes refused", "cannot signon", func(p *programs, _ *Client) { p.fail["listnodes -n"] = errRefused }},
		{"chatter", "is not a node name", func(p *programs, _ *Client) { p.answer["listnodes -n"] = "a warning\n" }},
		{"not of the cluster", `node "Node1" is not in the cluster`,
			func(p *programs, _ *Client) { p.answer["listnodes -n"] = "a\nb\n" }},
		{"no status", "is not a status", func(p *programs, _ *Client) { p.answer["nodestatus node2"] = "" }},
		{"status refused", "cannot signon", func(p *programs, _ *Client) {
			p.answer["nodestatus node2"], p.fail["nodestatus node2"] = "", errRefused
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pair("all", "active")
			c := client(t, p)
			tt.change(p, c)
			v, err := c.View(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !reflect.DeepEqual(v, hbplugin.View{}) {
				t.Errorf("%+v, error %v, want %q", v, err, tt.want)
			}
		})
	}
}

func TestStandby(t *testing.T) {
	p := pair("all", "active")
	if err := client(t, p).Standby(t.Context()); err != nil || !slices.Equal(p.ran, []string{"hb_standby all"}) {
		t.Errorf("%v, ran %q", err, p.ran)
	}
	p.fail["all"] = errRefused
	if err := client(t, p).Standby(t.Context()); !errors.Is(err, errRefused) {
		t.Errorf("error %v", err)
	}
}

func TestUnstandby(t *testing.T) {
	for _, tt := range []struct {
		state string
		takes bool
		err   string
	}{
		{"none", true, ""},
		{"foreign", true, ""},
		{"local", false, ""},
		{"all", false, ""},
		{"transition", false, "still moving"},
		{"?", false, "not a state"},
	} {
		t.Run(tt.state, func(t *testing.T) {
			p := pair(tt.state, "active")
			err := client(t, p).Unstandby(t.Context())
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if took := slices.Contains(p.ran, "hb_takeover local"); took != tt.takes {
				t.Errorf("ran %q", p.ran)
			}
		})
	}
	p := pair("none", "active")
	p.fail["rscstatus"] = errRefused
	if err := client(t, p).Unstandby(t.Context()); !errors.Is(err, errRefused) || len(p.ran) > 1 {
		t.Errorf("error %v, ran %q", err, p.ran)
	}
}

// cl_status ends with 1 for a node that is dead, and says so on its standard output.
func TestAlive(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		exit       error
		want, tell bool
	}{
		{"active", "active\n", nil, true, true},
		{"dead", "dead\n", errExit, false, true},
		{"starting", "init", errExit, false, true},
		{"joining", "up", nil, false, true},
		{"a ping node", "ping", nil, false, false},
		{"nothing", "", nil, false, false},
		{"a failure", "", errExit, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pair("all", tt.says)
			p.fail["nodestatus node2"] = tt.exit
			got, err := client(t, p).Alive(t.Context(), "node2")
			if got != tt.want || (err == nil) != tt.tell {
				t.Errorf("%t, %v", got, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := client(t, pair("all", "active")).Alive(ctx, "node2"); got || err == nil {
		t.Errorf("out of time: %t, %v", got, err)
	}
}

func TestPeers(t *testing.T) {
	p := pair("all", "active")
	p.answer["listnodes -n"] = "node3\nNODE1\nnode2\n"
	p.answer["nodestatus node3"], p.fail["nodestatus node3"] = "dead", errExit
	got, err := client(t, p).Peers(t.Context())
	want := []elsewhere.Peer{{Name: "node3", State: elsewhere.PeerUnknown}, {Name: "node2", State: elsewhere.PeerUp}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	p.ran = nil
	got, err = client(t, p).Nodes(t.Context())
	want[1].State = elsewhere.PeerUnknown
	if err != nil || !slices.Equal(got, want) || len(p.ran) != 1 {
		t.Errorf("nodes alone: %v, %v; want %v; ran %q", got, err, want, p.ran)
	}
}

func TestDefaults(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Run: (&programs{answer: map[string]string{"listnodes -n": own + "\nother\n",
		"nodestatus other": "up"}}).run}
	if peers, err := c.Peers(t.Context()); err != nil || !slices.Equal(peers, []elsewhere.Peer{{Name: "other"}}) {
		t.Errorf("%v, %v", peers, err)
	}
	if dir := c.scripts("no such script"); dir != "/usr/share/heartbeat" {
		t.Errorf("scripts in %q", dir)
	}
	if c.String() != "heartbeat" {
		t.Errorf("%s", c)
	}
	c.Run = nil
	if _, err := c.run(t.Context(), "vmferry-no-such-program"); err == nil {
		t.Error("a program that is not there ran")
	}
}

// FuzzAnswers: whatever cl_status writes, nothing but its own words is taken
// for an answer.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{"all", "active\n", "node1\nnode2\n", "", "-x", "transition", "dead", "a b\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		if s, err := parseState(said); err == nil && !strings.Contains(said, string(s)) {
			t.Errorf("state %q out of %q", s, said)
		}
		if alive, known := parseNodeStatus(said); alive && (!known || strings.TrimSpace(said) != "active") {
			t.Errorf("%q counts as alive", said)
		}
		nodes, err := parseNodes(said)
		if (err == nil) == (len(nodes) == 0) {
			t.Errorf("nodes %q, %v", nodes, err)
		}
		for _, n := range nodes {
			if n == "" || strings.HasPrefix(n, "-") || !strings.Contains(said, n) {
				t.Errorf("node %q out of %q", n, said)
			}
		}
	})
}

func TestFences(t *testing.T) {
	for conf, want := range map[string]bool{
		"": false, "deadtime 5\nstonith_host * external/vmferry\n": true, " stonith baytech /etc/ha.d/conf": true,
		"#stonith_host * ssh": false, "# stonith_host * ssh": false, "stonith_host": false, "stonith_hosts a b": false,
	} {
		if got := Fences(conf); got != want {
			t.Errorf("%q: %t", conf, got)
		}
	}
}

func TestDeadtime(t *testing.T) {
	for _, tt := range []struct {
		answer string
		want   time.Duration
	}{{"5\n", 5 * time.Second}, {"1500ms", 1500 * time.Millisecond}, {"0.5", time.Second / 2}, {"", 0}, {"never", 0},
		{"-3", 0}, {"0", 0}, {"1e300", 0}} {
		p := pair("all", "active")
		p.answer["hbparameter -p deadtime"] = tt.answer
		got, err := client(t, p).Deadtime(t.Context())
		if got != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%q: %v, %v; want %v", tt.answer, got, err, tt.want)
		}
	}
	p := pair("all", "active")
	p.fail["hbparameter -p deadtime"] = errExit
	if _, err := client(t, p).Deadtime(t.Context()); err == nil {
		t.Error("cl_status fails, and yet an answer")
	}
}
