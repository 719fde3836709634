package resource

import (
	"fmt"
	"regexp"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
	"github.com/vmferry/vmferry/resource/param"
)

// What is advertised is done, and the other way round.
func TestMetaDataNamesWhatIsThere(t *testing.T) {
	text := metadata.XML()
	for action := range actions {
		if !ocf.IsAction(action) {
			t.Errorf("action %s is refused before anybody looks", action)
		}
		line := regexp.MustCompile(fmt.Sprintf(`<action name="%s" (depth="0" )?timeout="%.0fs"`, action,
			metadata.Timeout(action).Seconds()))
		if !line.MatchString(text) {
			t.Errorf("action %s is not advertised with its default timeout %v", action, metadata.Timeout(action))
		}
	}
}

// A resource that was taken out of the configuration is stopped without its parameters.
func TestStopWithoutParameters(t *testing.T) {
	for _, c := range []struct {
		name, action string
		noted        bool
		want         ocf.ExitCode
	}{
		{"stop", "stop", true, ocf.Success},
		{"monitor", "monitor", true, ocf.Success},
		{"start", "start", true, ocf.Configured},
		{"stop, never seen here", "stop", false, ocf.Configured},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				w.boot()
				if c.noted {
					err, _ := w.run("monitor")
					checkExit(t, err, ocf.Success, "")
				}
				bare := param.ParseEnviron([]string{"OCF_RESOURCE_INSTANCE=res1", "OCF_RESKEY_CRM_meta_timeout=40000"})
				w.agent.Environ = bare
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, "")
				if gone := !w.there; gone != (c.action == "stop" && c.want == ocf.Success) {
					t.Errorf("the guest is gone: %v", gone)
				}
			})
		})
	}
}
