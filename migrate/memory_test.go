package migrate

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

func TestTargetShortOfMemoryIsAWarning(t *testing.T) {
	for _, mode := range []preflight.MemoryMode{"", preflight.MemoryWarn} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			p.Target.Free, p.req.Memory = 512<<20-1, mode
			rec, err := Move(t.Context(), p.req, p.deps)
			if err != nil || rec.Outcome != record.Moved || !strings.Contains(strings.Join(rec.Notes, "; "),
				"may not have memory") {
				t.Errorf("mode %q: outcome %q, notes %q, %v", mode, rec.Outcome, rec.Notes, err)
			}
		})
	}
}
