package evacuate

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

// cluster is claims and notes of these guests; a name that begins with "fixed" may not be migrated live.
func cluster(names ...string) (claims []hbplugin.Claim, noted []notes.Guest) {
	for _, name := range names {
		params := map[string]string{"config": "/etc/" + name + ".xml"}
		if strings.HasPrefix(name, "fixed") {
			params["ladder"] = "shutdown"
		}
		claims = append(claims, hbplugin.Claim{Resource: name, Environ: hbplugin.EnvironOf(name, params)})
		noted = append(noted, notes.Guest{Guest: name, Resource: name, URI: "qemu:///system"})
	}
	return claims, noted
}

func nobody(context.Context, string, ...string) (string, error) {
	return "", errors.New("no such program")
}

// by moves guests to a node whose libvirt can be reached.
func by(move Mover) Means {
	return Means{Run: nobody, Reach: func(context.Context, string) error { return nil }, Move: move}
}

func TestAll(t *testing.T) {
	claims, noted := cluster("web", "mail", "fixed", "broken")
	var mu sync.Mutex
	var moved []string
	err := All(t.Context(), claims, noted[:4], "beta", by(func(_ context.Context, m param.Move) error {
		mu.Lock()
		defer mu.Unlock()
		if m.Guest == "broken" {
			return errors.New("it is paused")
		}
		if m.Target != "beta" || !strings.Contains(m.TargetURI, "beta") {
			t.Errorf("%s goes to %q by %q", m.Guest, m.Target, m.TargetURI)
		}
		moved = append(moved, m.Guest)
		return nil
	}))
	if len(moved) != 2 {
		t.Errorf("moved %v", moved)
	}
	for _, want := range []string{`guest "fixed": its ladder has no live rung`, `guest "broken": the migration failed: it is paused`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// When the time is up the guests that wait are not begun.
func TestTimeIsUp(t *testing.T) {
	claims, noted := cluster("a", "b", "c", "d", "e")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var mu sync.Mutex
		begun := 0
		err := All(ctx, claims, noted, "beta", by(func(ctx context.Context, _ param.Move) error {
			mu.Lock()
			begun++
			mu.Unlock()
			<-ctx.Done()
			return ctx.Err()
		}))
		if begun != atOnce || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d begun, %v", begun, err)
		}
	})
}

// A target that does not answer is asked once for all guests, none is moved, and another try would not help.
func TestTargetOutOfReach(t *testing.T) {
	claims, noted := cluster("a", "b", "c", "d", "e")
	synctest.Test(t, func(t *testing.T) {
		begun, tried := time.Now(), 0
		err := All(t.Context(), claims, noted, "beta", Means{Run: nobody,
			Reach: func(_ context.Context, address string) error {
				tried++
				if address != "beta:16514" && address != "beta:22" {
					t.Errorf("reached for %q", address)
				}
				time.Sleep(time.Second)
				return errors.New("i/o timeout")
			},
			Move: func(_ context.Context, m param.Move) error {
				t.Errorf("%s is moved", m.Guest)
				return nil
			},
		})
		if took := time.Since(begun); took != time.Second || tried != 1 {
			t.Errorf("%d tries in %s", tried, took)
		}
		if want := `guest "e": libvirt of node beta cannot be reached: i/o timeout`; err == nil ||
			!strings.Contains(err.Error(), want) || errors.Is(err, ErrFailed) {
			t.Errorf("%v, want %q", err, want)
		}
	})
}

func TestReach(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := Reach(t.Context(), address); err != nil {
		t.Error(err)
	}
	listener.Close()
	if err := Reach(t.Context(), address); err == nil {
		t.Error("a closed port was reached")
	}
}

// Without a cluster manager a guest is moved by the parameters that the agent has noted; with one, by the manager's.
func TestGuests(t *testing.T) {
	claims, noted := cluster("web", "mail", "old")
	for i, n := range noted[:2] {
		noted[i].Params = map[string]string{"config": "/etc/" + n.Guest + ".xml", "migration_transport": "tcp"}
	}
	for name, test := range map[string]struct {
		claims []hbplugin.Claim
		want   string
	}{
		"a manager":           {claims, "web: mail: old:"},
		"no manager":          {nil, "web:tcp mail:tcp"},
		"a manager knows one": {claims[:1], "web: mail:tcp"},
	} {
		var got []string
		for _, g := range guests(test.claims, noted) {
			got = append(got, g.Name+":"+g.Params.Transport)
			if g.Params.Hypervisor != "qemu:///system" || g.Params.Config != "/etc/"+g.Name+".xml" {
				t.Errorf("%s: %+v", name, g.Params)
			}
		}
		if all := strings.Join(got, " "); all != test.want {
			t.Errorf("%s: %q, want %q", name, all, test.want)
		}
	}
	if claims[1].Resource != "mail" {
		t.Error("the claims of the caller are changed")
	}
}
