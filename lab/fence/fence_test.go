package fence

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/supervisor"
)

// fakeSwitch answers every request at a socket as a supervisor with two
// nodes would, node2 being off, and says what it was asked.
func fakeSwitch(t *testing.T) (dir string, asked func() []supervisor.Request) {
	t.Helper()
	dir = t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, supervisor.Switch))
	if err != nil {
		t.Fatal(err)
	}
	var requests []supervisor.Request
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var req supervisor.Request
			reply := supervisor.Reply{Nodes: map[string]supervisor.State{"node1": {Up: true}, "node2": {}}}
			if json.NewDecoder(conn).Decode(&req) == nil {
				requests = append(requests, req)
			}
			if req.Node == "stuck" {
				reply = supervisor.Reply{Error: "node \"stuck\" still has processes"}
			}
			_ = json.NewEncoder(conn).Encode(reply)
			conn.Close()
		}
	}()
	stop := func() { l.Close(); <-done }
	t.Cleanup(stop)
	return dir, func() []supervisor.Request { stop(); return requests }
}

func TestActions(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  string
		stdin string
		code  int
		op    supervisor.Op // that reached the switch
		node  string
	}{
		{"reboot is the default", "", "plug=node2\n", exitOK, supervisor.OpReboot, "node2"},
		{"off", "", "# comment\naction=off\nport=node2\nnodename=node2\n", exitOK, supervisor.OpOff, "node2"},
		{"on", "-o on -n node1", "", exitOK, supervisor.OpOn, "node1"},
		{"no node", "", "action=off\n", exitBad, "", ""},
		{"not proven off", "", "action=off\nplug=stuck\n", exitBad, supervisor.OpOff, "stuck"},
		{"status of one that is on", "", "action=status\nplug=node1\n", exitOK, supervisor.OpStatus, ""},
		{"status of one that is off", "", "action=status\nplug=node2\n", exitOff, supervisor.OpStatus, ""},
		{"status of a stranger", "", "action=status\nplug=node9\n", exitBad, supervisor.OpStatus, ""},
		{"monitor", "", "action=monitor\n", exitOK, supervisor.OpStatus, ""},
		{"a number that is none", "", "action=off\nplug=node2\nmsgwait=soon\n", exitBad, "", ""},
		{"unknown action", "", "action=stop\nplug=node1\n", exitBad, "", ""},
		{"metadata", "-o metadata", "", exitOK, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, asked := fakeSwitch(t)
			var out, complaint bytes.Buffer
			code := Main(context.Background(), dir, strings.Fields(test.args), strings.NewReader(test.stdin), &out,
				&complaint)
			if code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, complaint.String())
			}
			if code == exitBad && strings.Count(complaint.String(), "\n") != 1 {
				t.Errorf("want one line of complaint, got %q", complaint.String())
			}
			got := asked()
			if test.op == "" && len(got) > 0 || test.op != "" &&
				(len(got) != 1 || got[0].Op != test.op || got[0].Node != test.node) {
				t.Errorf("the switch was asked %+v", got)
			}
		})
	}
}

// It answers no sooner than SBD, and turns a node on at once.
func TestMsgwait(t *testing.T) {
	for action, least := range map[string]time.Duration{"off": time.Second, "on": 0} {
		dir, _ := fakeSwitch(t)
		begun := time.Now()
		var out bytes.Buffer
		code := Main(context.Background(), dir, nil, strings.NewReader("action="+action+"\nplug=node2\nmsgwait=1\n"), &out, &out)
		took := time.Since(begun)
		if code != exitOK || took < least || least == 0 && took > 900*time.Millisecond {
			t.Errorf("%s: exit code %d after %s: %s", action, code, took, out.String())
		}
	}
}

func TestSwitchOutOfReachIsAFailure(t *testing.T) {
	var out, complaint bytes.Buffer
	code := Main(context.Background(), filepath.Join(t.TempDir(), "none"), nil, strings.NewReader("plug=node1\n"), &out,
		&complaint)
	if code != exitBad {
		t.Errorf("exit code %d: a fence that could not be carried out", code)
	}
}

func TestMetadataIsXML(t *testing.T) {
	var doc struct {
		Name string `xml:"name,attr"`
	}
	if err := xml.Unmarshal([]byte(metadata), &doc); err != nil || doc.Name != "fence_lab" {
		t.Errorf("%q, %v", doc.Name, err)
	}
}

func TestAMachineHasAFileThatSaysWhereTheSwitchIs(t *testing.T) {
	dir := t.TempDir()
	if got := powerSwitch(dir); got != filepath.Join(dir, supervisor.Switch) {
		t.Errorf("without a file: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "switch"), []byte("10.78.0.254:7710\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := powerSwitch(dir); got != "10.78.0.254:7710" {
		t.Errorf("with one: %q", got)
	}
}
