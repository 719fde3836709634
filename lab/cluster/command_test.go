package cluster

import (
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vmferry/vmferry/lab/supervisor"
)

// labWith is a cluster whose supervisor gives the same answer to everything.
func labWith(t *testing.T, reply supervisor.Reply) *Cluster {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var req supervisor.Request
			if json.NewDecoder(conn).Decode(&req) == nil {
				_ = json.NewEncoder(conn).Encode(reply)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return &Cluster{Control: path, Nodes: []string{"node1", "node2"}}
}

// A container is entered through its leader, a machine is logged in to.
func TestCommandReachesTheNodeAsTheLabSays(t *testing.T) {
	nodes := map[string]supervisor.State{"node1": {Up: true, Leader: 4711}, "node2": {}}
	for _, test := range []struct {
		login          string
		command, shell []string
	}{
		{
			"", []string{"nsenter", "--target=4711", "--all", "--root", "--wd", "--", "virsh", "list"},
			[]string{"nsenter", "--target=4711", "--all", "--root", "--wd", "--", "bash", "-l"},
		},
		{
			"/lab/ssh/config", []string{"ssh", "-F", "/lab/ssh/config", "node1", "--", "exec 'virsh' 'list'"},
			[]string{"ssh", "-F", "/lab/ssh/config", "-t", "node1"},
		},
	} {
		c := labWith(t, supervisor.Reply{Nodes: nodes, Login: test.login})
		cmd, err := c.Command(t.Context(), "node1", "virsh", "list")
		if err != nil || !slices.Equal(cmd.Args, test.command) {
			t.Errorf("login %q: command %q, %v", test.login, cmd.Args, err)
		}
		cmd, err = c.Shell(t.Context(), "node1")
		if err != nil || !slices.Equal(cmd.Args, test.shell) {
			t.Errorf("login %q: shell %q, %v", test.login, cmd.Args, err)
		}
		for _, program := range []string{"true", ""} {
			if _, err := c.Command(t.Context(), "node2", program); !errors.Is(err, ErrDown) {
				t.Errorf("login %q: a node that is down: %v", test.login, err)
			}
		}
	}
}

func TestShellOfNoNode(t *testing.T) {
	for _, login := range []string{"", "/lab/ssh/config"} {
		c := labWith(t, supervisor.Reply{Nodes: map[string]supervisor.State{"node1": {}}, Login: login})
		for name, down := range map[string]bool{"node1": true, "node9": false} {
			if _, err := c.Shell(t.Context(), name); err == nil || errors.Is(err, ErrDown) != down {
				t.Errorf("login %q: shell on %q: %v", login, name, err)
			}
		}
	}
}
