package migrate

import (
	"strings"
	"testing"
	"testing/synctest"
)

func TestJudgeMemory(t *testing.T) {
	for _, c := range []struct {
		need, free     uint64
		fixed          bool
		mode           MemoryMode
		short, refused bool
	}{
		{512, 512, false, MemoryRefuse, false, false},
		{513, 512, false, "", true, false},
		{513, 512, false, MemoryWarn, true, false},
		{513, 512, false, MemoryRefuse, true, true},
		{513, 512, false, MemoryIgnore, false, false},
		{0, 0, true, MemoryRefuse, false, false},
		{513, 512, true, "", true, true},
		{513, 512, true, MemoryIgnore, true, true},
		{512, 512, true, MemoryRefuse, false, false},
	} {
		if short, refused := JudgeMemory(c.need, c.free, c.fixed, c.mode); short != c.short || refused != c.refused {
			t.Errorf("%+v: short %v, refused %v", c, short, refused)
		}
	}
}

func TestTargetShortOfMemoryIsAWarning(t *testing.T) {
	for _, mode := range []MemoryMode{"", MemoryWarn} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			p.target.free, p.req.Memory = 512<<20-1, mode
			rec, err := Move(t.Context(), p.req, p.deps)
			if err != nil || rec.Outcome != Moved || !strings.Contains(strings.Join(rec.Notes, "; "), "may not have memory") {
				t.Errorf("mode %q: outcome %q, notes %q, %v", mode, rec.Outcome, rec.Notes, err)
			}
		})
	}
}
