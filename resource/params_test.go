package resource

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
	"github.com/vmferry/vmferry/resource/param"
)

const (
	reskey        = param.Prefix
	xenURI        = "xen:///system"
	defaultXMFile = "/etc/xen/vm/MyDomU"
)

// defaultLadder is what may be tried where the parameter does not say it.
var defaultLadder = param.ParseEnviron(nil).Params.Ladder

func environ(params ...string) param.Environ {
	vars := []string{"OCF_RESKEY_config=/etc/vm1.xml", "OCF_RESKEY_hypervisor=qemu:///system"}
	for _, p := range params {
		vars = append(vars, reskey+p)
	}
	return param.ParseEnviron(vars)
}

// defaults are the timeouts of the actions.
var defaults = func() map[string]time.Duration {
	all := make(map[string]time.Duration)
	for action := range actions {
		all[action] = metadata.Timeout(action)
	}
	return all
}()

// A guest with a move's parameter that cannot be used is started, and validate-all reports all such.
func TestMoveParametersFailMovesAlone(t *testing.T) {
	bad := environ("migrateuri=%n", "watch=192.0.2.7:7", "ladder=live,prayer")
	for _, c := range []struct {
		action string
		want   ocf.ExitCode
		calls  []string
	}{
		{"start", ocf.Success, []string{"create"}}, {"monitor", ocf.Success, nil}, {"migrate_to", ocf.Generic, nil},
		{"reload-agent", ocf.Success, nil}, {"stop", ocf.Success, []string{"shutdown"}},
		{"validate-all", ocf.Configured, nil},
	} {
		w := newWorld(t, c.action)
		if c.action != "start" {
			w.boot()
		}
		w.agent.Problems = bad.Problems
		err, _ := w.run(c.action)
		checkExit(t, err, c.want, "")
		if !slices.Equal(w.calls, c.calls) {
			t.Errorf("%s did %v, want %v", c.action, w.calls, c.calls)
		}
		for _, name := range []string{"migrateuri", "watch", "ladder"} {
			if c.action == "validate-all" && !strings.Contains(err.Error(), name) {
				t.Errorf("validate-all does not tell of %s: %v", name, err)
			}
		}
	}
}
