package pacemaker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
)

// programs is a fake of Pacemaker's command line: what is run, and what it
// answers.
type programs struct {
	answer map[string]string
	fail   map[string]error
	ran    []string
}

func (p *programs) run(_ context.Context, program string, args ...string) ([]byte, error) {
	p.ran = append(p.ran, strings.Join(append([]string{program}, args...), " "))
	return []byte(p.answer[program]), p.fail[program]
}

// proc makes a procfs with one process of each status text.
func proc(t *testing.T, status ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range status {
		path := filepath.Join(dir, fmt.Sprint(100+i), "status")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sys"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

const alive = "Name:\tpacemakerd\nState:\tS (sleeping)\nNSpid:\t100\n"

func client(t *testing.T, p *programs) *Client {
	return &Client{Agents: bothAgents, Run: p.run, Proc: proc(t, alive)}
}

func TestDaemonAlive(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status []string
		want   bool
	}{
		{"nothing runs", nil, false},
		{"others run", []string{"Name:\tsystemd\nState:\tS (sleeping)\nNSpid:\t1\n"}, false},
		{"pacemakerd", []string{alive}, true},
		{"a daemon without its parent", []string{"Name:\tpacemaker-contr\nState:\tR (running)\nNSpid:\t7\n"}, true},
		{"a zombie", []string{"Name:\tpacemakerd\nState:\tZ (zombie)\nNSpid:\t100\n"}, false},
		{"in a container", []string{"Name:\tpacemaker-remot\nState:\tS (sleeping)\nNSpid:\t100\t1\n"}, false},
		{"a kernel without NSpid", []string{"Name:\tpacemakerd\nState:\tS (sleeping)\n"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := daemonAlive(proc(t, tt.status...))
			if err != nil || got != tt.want {
				t.Errorf("%t, %v; want %t", got, err, tt.want)
			}
		})
	}
}

func TestProcessesCannotBeRead(t *testing.T) {
	if _, err := daemonAlive(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no procfs, and yet an answer")
	}
	dir := proc(t)
	if err := os.MkdirAll(filepath.Join(dir, "7", "status"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := daemonAlive(dir); err == nil {
		t.Error("a process could not be read, and yet an answer")
	}
	if err := os.Remove(filepath.Join(dir, "7", "status")); err != nil {
		t.Fatal(err)
	}
	if got, err := daemonAlive(dir); got || err != nil {
		t.Errorf("a process that ended: %t, %v", got, err)
	}
}

func TestViewWithoutPacemaker(t *testing.T) {
	p := &programs{}
	c := client(t, p)
	c.Proc = proc(t)
	v, err := c.View(t.Context())
	if err != nil || v.Running || len(p.ran) > 0 {
		t.Errorf("%+v, %v, ran %q", v, err, p.ran)
	}
}

func TestView(t *testing.T) {
	p := &programs{answer: map[string]string{"crm_node": "n1\n", "crm_mon": text(t, "migrating.xml")}}
	c := client(t, p)
	for range 2 {
		v, err := c.View(t.Context())
		if err != nil || !v.Running || !v.Standby || len(v.Guests) != 3 {
			t.Errorf("%+v, %v", v, err)
		}
	}
	mon := "crm_mon --output-as=xml --exclude=all --include=nodes,resources -1"
	want := "crm_node --name; " + mon + "; " + mon
	if got := strings.Join(p.ran, "; "); got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
}

func TestViewFails(t *testing.T) {
	refused := errors.New("refused")
	for _, tt := range []struct {
		name   string
		answer map[string]string
		fail   map[string]error
		want   string
	}{
		{"no node name", nil, map[string]error{"crm_node": refused}, "refused"},
		{"empty node name", map[string]string{"crm_node": "\n"}, nil, `"" is no node name`},
		{"chatter for a node name", map[string]string{"crm_node": "a warning\nn1\n"}, nil, "is no node name"},
		{"no status", map[string]string{"crm_node": "n1"}, map[string]error{"crm_mon": refused}, "refused"},
		{"empty status", map[string]string{"crm_node": "n1"}, nil, "cut short"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client(t, &programs{answer: tt.answer, fail: tt.fail}).View(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestStandbyIsTransient(t *testing.T) {
	p := &programs{}
	c := &Client{Node: "n1", Run: p.run}
	if err := errors.Join(c.Standby(t.Context()), c.Unstandby(t.Context())); err != nil {
		t.Fatal(err)
	}
	head := "crm_attribute --node n1 --name standby --lifetime reboot "
	if got, want := strings.Join(p.ran, "; "), head+"--update on; "+head+"--delete"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
}

func TestStandbyFails(t *testing.T) {
	refused := errors.New("refused")
	c := &Client{Node: "n1", Run: (&programs{fail: map[string]error{"crm_attribute": refused}}).run}
	if err := c.Standby(t.Context()); !errors.Is(err, refused) {
		t.Errorf("crm_attribute: %v", err)
	}
	c = &Client{Run: (&programs{fail: map[string]error{"crm_node": refused}}).run}
	if err := c.Unstandby(t.Context()); !errors.Is(err, refused) {
		t.Errorf("crm_node: %v", err)
	}
}

func TestExec(t *testing.T) {
	out, err := Exec(t.Context(), "echo", "a b", "c")
	if err != nil || string(out) != "a b c\n" {
		t.Errorf("%q, %v", out, err)
	}
	_, err = Exec(t.Context(), "ls", "/does/not/exist")
	if err == nil || !strings.Contains(err.Error(), "ls /does/not/exist: exit status 2: ls: cannot access") {
		t.Errorf("error %v", err)
	}
	if _, err = Exec(t.Context(), "crm_no_such_program"); err == nil {
		t.Error("a program that is not there ran")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Exec(ctx, "sleep", "60")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program without end: %v", err)
	}
}

var _ hbplugin.Manager = &Client{}
