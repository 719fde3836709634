package evacuate

import (
	"context"
	"errors"
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

func TestAll(t *testing.T) {
	claims, noted := cluster("web", "mail", "fixed", "broken")
	var mu sync.Mutex
	var moved []string
	err := All(t.Context(), claims, noted[:4], "beta", nobody, func(_ context.Context, m param.Move) error {
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
	})
	if len(moved) != 2 {
		t.Errorf("moved %v", moved)
	}
	for _, want := range []string{`guest "fixed": its ladder has no live rung`, `guest "broken": it is paused`} {
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
		err := All(ctx, claims, noted, "beta", nobody, func(ctx context.Context, _ param.Move) error {
			mu.Lock()
			begun++
			mu.Unlock()
			<-ctx.Done()
			return ctx.Err()
		})
		if begun != atOnce || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d begun, %v", begun, err)
		}
	})
}
