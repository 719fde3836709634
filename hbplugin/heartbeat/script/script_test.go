package script

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

var (
	errNotRunning = &ocf.Error{Code: ocf.NotRunning}
	errUnclear    = &ocf.Error{Code: ocf.Generic, Reason: "cannot tell whether it runs"}
	errFailed     = &ocf.Error{Code: ocf.Generic, Reason: "it did not work"}
	errNoRoom     = &ocf.Error{Code: ocf.Generic, Reason: "migrate_to failed",
		Err: &preflight.Refusal{Check: preflight.CheckMemory}}
	errNowhere = &ocf.Error{Code: ocf.Generic, Reason: "migrate_to failed", Err: migrate.ErrUnknown}
)

// scene is a node under Heartbeat: what the agent answers to each action, how long that takes,
// and what cl_status says. done lists the actions with their time limit and target.
type scene struct {
	answer  map[string]error
	refuses map[string]error // why a node does not take the guest
	takes   map[string]time.Duration
	peers   []elsewhere.Peer
	deaf    error // of the question for peers
	onAct   func(action string)
	stale   time.Duration // how long Heartbeat's word may be stale, as it is leaving here
	leaves  time.Duration // when the peer is seen to have left, zero for never
	began   time.Time

	done   []string
	stdout bytes.Buffer
	stderr bytes.Buffer
}

func (s *scene) face(runDir string) Script {
	s.began = time.Now()
	return Script{
		Act: s.act,
		Peers: func(context.Context) ([]elsewhere.Peer, error) {
			if s.leaves > 0 && time.Since(s.began) >= s.leaves {
				return peerLost, s.deaf
			}
			return s.peers, s.deaf
		},
		Leaving:  func(context.Context) (time.Time, bool) { return s.began, s.stale > 0 },
		Deadtime: func(context.Context) time.Duration { return cmp.Or(s.stale, 6*time.Second) },
		Logger: func([]string, string) logrus.FieldLogger {
			log := logrus.New()
			log.SetOutput(&s.stderr)
			return log
		},
		Stdout: &s.stdout, Stderr: &s.stderr, RunDir: runDir,
	}
}

func (s *scene) act(_ context.Context, action string, environ []string) error {
	env := param.ParseEnviron(environ)
	s.done = append(s.done, strings.TrimSpace(fmt.Sprintf("%s %s %s", action, env.Timeout, env.Target)))
	time.Sleep(s.takes[action]) // of the bubble's clock
	if s.onAct != nil {
		s.onAct(action)
	}
	if err, refused := s.refuses[env.Target]; refused {
		return err
	}
	return s.answer[action]
}

var (
	threeUp  = append(slices.Clone(bothUp), elsewhere.Peer{Name: "node3", State: elsewhere.PeerUp})
	bothUp   = []elsewhere.Peer{{Name: "node2", State: elsewhere.PeerUp}}
	peerLost = []elsewhere.Peer{{Name: "node2", State: elsewhere.PeerUnknown}}
)

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		scene
		failed bool // an earlier stop has failed
		want   string
		code   ocf.ExitCode
	}{
		{"moved", "vm1 stop", scene{peers: bothUp}, false,
			"monitor 30s; migrate_to 2m0s node2", 0},
		{"moved to the one that is up", "vm1 stop",
			scene{peers: append(slices.Clone(peerLost), elsewhere.Peer{Name: "node3", State: elsewhere.PeerUp})}, false,
			"monitor 30s; migrate_to 2m0s node3", 0},
		{"the first does not take it", "vm1 stop",
			scene{peers: threeUp, refuses: map[string]error{"node2": errNoRoom},
				takes: map[string]time.Duration{"migrate_to": 10 * time.Second}}, false,
			"monitor 30s; migrate_to 2m0s node2; migrate_to 1m50s node3", 0},
		{"none takes it", "vm1 stop", scene{peers: threeUp, answer: map[string]error{"migrate_to": errNoRoom}}, false,
			"monitor 30s; migrate_to 2m0s node2; migrate_to 2m0s node3; stop 1m30s", 0},
		{"nobody knows where the first try left it", "vm1 stop",
			scene{peers: threeUp, refuses: map[string]error{"node2": errNowhere}}, false,
			"monitor 30s; migrate_to 2m0s node2; stop 1m30s", 0},
		{"no time for the second", "vm1 stop",
			scene{peers: threeUp, answer: map[string]error{"migrate_to": errNoRoom},
				takes: map[string]time.Duration{"migrate_to": 119 * time.Second}}, false,
			"monitor 30s; migrate_to 2m0s node2; stop 1m30s", 0},
		{"the time of the look is the move's", "vm1 stop",
			scene{peers: bothUp, takes: map[string]time.Duration{"monitor": 20 * time.Second}}, false,
			"monitor 30s; migrate_to 1m40s node2", 0},
		{"not here", "vm1 stop", scene{peers: bothUp, answer: map[string]error{"monitor": errNotRunning}}, false,
			"monitor 30s; stop 1m30s", 0},
		{"cannot tell", "vm1 stop", scene{peers: bothUp, answer: map[string]error{"monitor": errUnclear}}, false,
			"monitor 30s; stop 1m30s", 0},
		{"the peer is down", "vm1 stop", scene{peers: peerLost}, false,
			"monitor 30s; stop 1m30s", 0},
		{"no peer at all", "vm1 stop", scene{}, false,
			"monitor 30s; stop 1m30s", 0},
		{"cl_status fails", "vm1 stop", scene{peers: bothUp, deaf: errFailed}, false,
			"monitor 30s; stop 1m30s", 0},
		{"the peer is not willing", "vm1 stop",
			scene{peers: bothUp, answer: map[string]error{"migrate_to": errFailed}}, false,
			"monitor 30s; migrate_to 2m0s node2; stop 1m30s", 0},
		{"nothing works", "vm1 stop", scene{peers: bothUp,
			answer: map[string]error{"migrate_to": errFailed, "stop": errFailed}}, false,
			"monitor 30s; migrate_to 2m0s node2; stop 1m30s", 1},
		{"the peer dies while it moves", "vm1 stop",
			scene{peers: bothUp, answer: map[string]error{"migrate_to": errFailed}, leaves: 5 * time.Second}, false,
			"monitor 30s; migrate_to 2m0s node2", 0},
		{"the peer dies too late to matter", "vm1 stop",
			scene{peers: bothUp, answer: map[string]error{"migrate_to": errFailed}, leaves: 8 * time.Second}, false,
			"monitor 30s; migrate_to 2m0s node2; stop 1m30s", 0},
		{"leaving, and the peer dies while it moves", "vm1 stop",
			scene{peers: bothUp, answer: map[string]error{"migrate_to": errFailed},
				stale: 2 * time.Second, leaves: 5 * time.Second,
				takes: map[string]time.Duration{"migrate_to": 4 * time.Second}}, false,
			"monitor 30s; migrate_to 1m58s node2; stop 1m30s", 0},
		{"leaving, and the peer stays", "vm1 stop", scene{peers: bothUp, stale: 6 * time.Second}, false,
			"monitor 30s; migrate_to 1m54s node2", 0},
		{"leaving, and so does the peer", "vm1 stop",
			scene{peers: bothUp, stale: 6 * time.Second, leaves: 5 * time.Second}, false,
			"monitor 30s; stop 1m30s", 0},
		{"leaving for long enough", "vm1 stop",
			scene{peers: bothUp, stale: 6 * time.Second, takes: map[string]time.Duration{"monitor": 7 * time.Second}},
			false,
			"monitor 30s; migrate_to 1m53s node2", 0},
		{"leaving with an endless deadtime", "vm1 stop", scene{peers: bothUp, stale: time.Hour}, false,
			"monitor 30s; migrate_to 1m0s node2", 0},
		{"an earlier stop failed", "vm1 stop", scene{peers: bothUp}, true,
			"monitor 30s; stop 1m30s", 0},
		{"a short timeout", "vm1 timeout=70 stop",
			scene{peers: bothUp, answer: map[string]error{"migrate_to": errFailed},
				takes: map[string]time.Duration{"monitor": time.Second, "migrate_to": 35 * time.Second}}, false,
			"monitor 20s; migrate_to 39s node2; stop 30s", 0},
		{"a long timeout", "vm1 timeout=600 stop", scene{peers: bothUp}, false,
			"monitor 30s; migrate_to 8m30s node2", 0},
		{"a long timeout and no peer", "vm1 timeout=600 stop",
			scene{takes: map[string]time.Duration{"monitor": time.Second}}, false,
			"monitor 30s; stop 9m59s", 0},
		{"a mistake in the line", "vm1 tmeout=600 x stop", scene{peers: bothUp}, false,
			"monitor 30s; migrate_to 2m0s node2", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			note := newStopNote(dir, "vm1")
			if tt.failed {
				if _, err := note.begin(); err != nil || note.fail() != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				code := tt.face(dir).Run(t.Context(), strings.Fields(tt.args), nil)
				if got := strings.Join(tt.done, "; "); code != tt.code || got != tt.want {
					t.Errorf("code %d, did %q\nwant %d, %q\n%s", code, got, tt.code, tt.want, &tt.stderr)
				}
			})
			if note.exists() != (tt.code != 0) {
				t.Errorf("a note is left: %t", note.exists())
			}
			if tt.stdout.Len() > 0 {
				t.Errorf("wrote %q", &tt.stdout)
			}
		})
	}
}

// A stop that is interrupted while it moves the guest does not continue to shut it down, and is
// remembered.
func TestStopInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &scene{peers: bothUp, answer: map[string]error{"migrate_to": errFailed}}
	s.onAct = func(action string) {
		if action == "migrate_to" {
			cancel()
		}
	}
	dir := t.TempDir()
	if code := s.face(dir).Run(ctx, []string{"vm1", "stop"}, nil); code != ocf.Generic || len(s.done) != 2 {
		t.Errorf("code %d, did %q", code, s.done)
	}
	if !newStopNote(dir, "vm1").exists() {
		t.Error("nothing is left to tell of it")
	}
}

// A stop that fails, as Heartbeat continues with it: again, then the question whether the guest
// runs, which must not be answered in a way that has the other node start it.
func TestAfterAFailedStop(t *testing.T) {
	dir := t.TempDir()
	s := &scene{peers: bothUp, answer: map[string]error{"monitor": errUnclear, "stop": errFailed}}
	call := func(action string) ocf.ExitCode { return s.face(dir).Run(t.Context(), []string{"vm1", action}, nil) }
	if code := call("status"); code != lsbUnknown || s.stdout.String() != "unknown\n" {
		t.Fatalf("before: %d, %q", code, &s.stdout)
	}
	for range 2 {
		if code := call("stop"); code != ocf.Generic {
			t.Fatalf("stop: %d", code)
		}
	}
	s.stdout.Reset()
	if code := call("status"); code != lsbUnknown || !heartbeatHolds(s.stdout.String()) {
		t.Errorf("after: %d, %q", code, &s.stdout)
	}
	s.answer["monitor"] = errNotRunning
	s.stdout.Reset()
	if code := call("status"); code != lsbStopped || heartbeatHolds(s.stdout.String()) {
		t.Errorf("proven: %d, %q", code, &s.stdout)
	}
	s.answer["start"] = nil
	if code := call("start"); code != ocf.Success || newStopNote(dir, "vm1").exists() {
		t.Errorf("started: %d", code)
	}
}

// heartbeatHolds reads the output of status as ResourceManager does.
func heartbeatHolds(output string) bool {
	low := strings.ToLower(output)
	if _, rest, ok := strings.Cut(low, "not "); ok && strings.Contains(rest, "running") {
		return false
	}
	return strings.Contains(low, "running") || strings.Contains(output, "OK")
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		answer     error
		holds      bool
		code       ocf.ExitCode
	}{
		{"running", "vm1 status", nil, true, 0},
		{"stopped", "vm1 status", errNotRunning, false, 3},
		{"monitor is the same", "vm1 monitor", errNotRunning, false, 3},
		{"cannot tell", "vm1 status", errUnclear, false, 4},
		{"an error that knows no code", "vm1 status", errors.New("not OK: running out of time"), false, 4},
		{"a mistake in the line", "vm1 a+b status", nil, true, 0},
		{"no guest", "status", nil, false, 4},
		{"no name", "../vm1 status", nil, false, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &scene{answer: map[string]error{"monitor": tt.answer}}
			code := s.face(t.TempDir()).Run(t.Context(), strings.Fields(tt.args), nil)
			out := s.stdout.String()
			if code != tt.code || heartbeatHolds(out) != tt.holds || strings.Count(out, "\n") != 1 {
				t.Errorf("code %d, wrote %q", code, out)
			}
		})
	}
}

func TestStart(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		answer     error
		did, says  string
		code       ocf.ExitCode
	}{
		{"by name", "vm1 start", nil, "start 1m30s", "", 0},
		{"it fails", "vm1 start", errFailed, "start 1m30s", "it did not work", 1},
		{"the file is missing", "vm1 start", &ocf.Error{Code: ocf.Installed, Reason: "no file"}, "start 1m30s",
			"no file", 5},
		{"with a timeout", "vm1 timeout=10 start", nil, "start 10s", "", 0},
		{"no parameter", "vm1 oops start", nil, "", `"oops" is not a parameter: write PARAM=VALUE: type vmferry usage`, 2},
		{"a parameter that nobody knows", "vm1 hypervisr=x start", nil, "",
			"hypervisr is not a parameter of this agent", 2},
		{"an option of the manager's", "vm1 CRM_meta_timeout=1 start", nil, "", "is not a parameter", 2},
		{"a name with capitals", "vm1 reserved_Dom0_memory=512 start", nil, "start 1m30s", "", 0},
		{"config by name", "vm1 config=/x start", nil, "", "the guest comes first", 2},
		{"no time", "vm1 timeout=0 start", nil, "", `timeout="0" is not a time`, 2},
		{"time with a unit", "vm1 timeout=90s start", nil, "", `timeout="90s" is not a time`, 2},
		{"two mistakes", "vm1 a timeout= start", nil, "",
			`"a" is not a parameter: write PARAM=VALUE; timeout="" is not a time`, 2},
		{"no guest", "start", nil, "", "no guest is named", 2},
		{"a parameter for a guest", "timeout=3 start", nil, "",
			`"timeout=3" is neither a guest's name nor an absolute path`, 2},
		{"no action", "vm1", nil, "", `no action "vm1": use start, stop or status`, 3},
		{"an action of OCF's", "vm1 migrate_to", nil, "", `no action "migrate_to"`, 3},
		{"nothing", "", nil, "", "no guest and no action", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &scene{answer: map[string]error{"start": tt.answer}}
			dir := t.TempDir()
			var code ocf.ExitCode
			synctest.Test(t, func(t *testing.T) {
				code = s.face(dir).Run(t.Context(), strings.Fields(tt.args), nil)
			})
			if code != tt.code || strings.Join(s.done, "; ") != tt.did ||
				!strings.Contains(s.stderr.String(), tt.says) {
				t.Errorf("code %d, did %q, said %q", code, s.done, &s.stderr)
			}
			if s.stdout.Len() > 0 || tt.says != "" && strings.Count(s.stderr.String(), "\n") != 1 {
				t.Errorf("wrote %q and %q", &s.stdout, &s.stderr)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, word := range []string{"usage", "help", "-h", "--help"} {
		s := &scene{}
		if code := s.face(t.TempDir()).Run(t.Context(), []string{word}, nil); code != 0 ||
			!strings.HasPrefix(s.stdout.String(), "usage: vmferry GUEST") {
			t.Errorf("%s: code %d, %q", word, code, &s.stdout)
		}
	}
}

// The agent gets the environment that Pacemaker would give it, whatever Heartbeat has set.
func TestEnviron(t *testing.T) {
	var got param.Environ
	var environ []string
	f := (&scene{}).face(t.TempDir())
	f.Act = func(_ context.Context, _ string, e []string) error {
		got, environ = param.ParseEnviron(e), e
		return nil
	}
	args := strings.Fields("/srv/vm1.xml migration_transport=tcp hypervisor=qemu:///session remoteuri=qemu+tls://%n/system?a=b start")
	given := []string{"OCF_ROOT=/usr/lib/ocf", "OCF_RESKEY_config=/other", "OCF_RESKEY_force_stop=1",
		"HA_DIR=/etc/ha.d", "PATH=/bin"}
	var code ocf.ExitCode
	synctest.Test(t, func(t *testing.T) { code = f.Run(t.Context(), args, given) })
	if code != 0 || len(got.Problems) > 0 || len(got.Ignored) > 0 || got.Bare {
		t.Fatalf("code %d, %+v", code, got)
	}
	p := got.Params
	if got.Instance != "/srv/vm1.xml" || p.Config != "/srv/vm1.xml" || p.Transport != "tcp" ||
		p.Hypervisor != "qemu:///session" ||
		p.RemoteURI != "qemu+tls://%n/system?a=b" || p.ForceStop || got.Timeout != 90*time.Second || got.Node == "" ||
		got.Target != "" {
		t.Errorf("%+v", got)
	}
	for _, v := range []string{"PATH=/bin", "HA_LOGFACILITY=none"} {
		if !slices.Contains(environ, v) {
			t.Errorf("%q lacks %s", environ, v)
		}
	}
}

// Two starts of one guest at the same time: the second waits, and finds what the first has done.
func TestStartsTwiceAtOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first, second := &scene{takes: map[string]time.Duration{"start": 20 * time.Second}}, &scene{}
		done := make(chan ocf.ExitCode)
		go func() { done <- first.face(dir).Run(t.Context(), []string{"vm1", "start"}, nil) }()
		synctest.Wait()
		began := time.Now()
		code := second.face(dir).Run(t.Context(), []string{"vm1", "start"}, nil)
		if waited := time.Since(began); code != 0 || waited < 20*time.Second || waited > 21*time.Second {
			t.Errorf("the second: code %d after %s", code, waited)
		}
		if got := strings.Join(second.done, "; "); got != "start 1m10s" && got != "start 1m9.9s" {
			t.Errorf("the second did %q", got)
		}
		if code := <-done; code != 0 {
			t.Errorf("the first: code %d", code)
		}
	})
}

// An action that hangs keeps another start waiting for a time, and a stop too; the stop then
// continues alone. Another guest is not concerned.
func TestBesideAnActionThatHangs(t *testing.T) {
	for _, tt := range []struct {
		args  string
		code  ocf.ExitCode
		waits time.Duration
		did   string
	}{
		{"vm1 start", ocf.Generic, 45 * time.Second, ""},
		{"vm1 stop", 0, time.Minute, "monitor 30s; stop 1m30s"},
		{"vm2 start", 0, 0, "start 1m30s"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				unlock, err := lockGuest(t.Context(), dir, "vm1", time.Second)
				if err != nil {
					t.Fatal(err)
				}
				defer unlock()
				s := &scene{}
				began := time.Now()
				code := s.face(dir).Run(t.Context(), strings.Fields(tt.args), nil)
				if took := time.Since(began); code != tt.code || took != tt.waits ||
					strings.Join(s.done, "; ") != tt.did {
					t.Errorf("code %d after %s, did %q: %s", code, took, s.done, &s.stderr)
				}
			})
		})
	}
}

func TestNote(t *testing.T) {
	dir := t.TempDir()
	n := newStopNote(dir, "/srv/a b.xml")
	if n.exists() || n.clear() != nil {
		t.Error("a note without a stop")
	}
	if failed, err := n.begin(); failed || err != nil || !n.exists() {
		t.Errorf("begin: %t, %v", failed, err)
	}
	if failed, err := n.begin(); failed || err != nil { // killed, and run again
		t.Errorf("again: %t, %v", failed, err)
	}
	for range 2 {
		if err := n.fail(); err != nil || !n.exists() {
			t.Errorf("fail: %v", err)
		}
	}
	if failed, err := n.begin(); !failed || err != nil {
		t.Errorf("after a failure: %t, %v", failed, err)
	}
	if n.clear() != nil || n.exists() {
		t.Error("clear")
	}
	if newStopNote(dir, "other").exists() {
		t.Error("guests share a note")
	}
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n = newStopNote(file, "vm1")
	if _, err := n.begin(); err == nil || n.fail() == nil || n.clear() == nil {
		t.Errorf("a directory that cannot be made: %v", err)
	}
}

// FuzzParseCall: whatever the words, a call that is understood names a guest by an absolute
// path, has a sensible time, and divides it.
func FuzzParseCall(f *testing.F) {
	for _, seed := range []string{"vm1 start", "/srv/vm1.xml hypervisor=qemu:///system timeout=30 stop", "status",
		"timeout=1 stop", "a b c", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := parseCall(strings.Fields(line))
		if err != nil || c.verb == "usage" {
			return
		}
		move, end := observed{Timeout: c.timeout}.split()
		if !strings.HasPrefix(c.config, "/") || c.name == "" || c.timeout < 0 || move <= 0 || end <= 0 ||
			end > stopTime {
			t.Errorf("%q: %+v, %s and %s", line, c, move, end)
		}
		if c.timeout > 0 && move+end != c.timeout {
			t.Errorf("%s and %s are not %s", move, end, c.timeout)
		}
	})
}
