package resource

import (
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/ocf"
)

// A node that tells too little free memory is no reason to leave a guest down, unless the parameter says so.
func TestStartWhereMemoryIsShort(t *testing.T) {
	const pages = "<memoryBacking><hugepages/></memoryBacking>"
	for _, c := range []struct {
		name   string
		mode   preflight.MemoryMode
		extra  string
		free   uint64
		want   ocf.ExitCode
		warned bool
	}{
		{"enough", preflight.MemoryRefuse, "", 512 << 20, ocf.Success, false},
		{"by default", preflight.MemoryWarn, "", 511 << 20, ocf.Success, true},
		{"refuse", preflight.MemoryRefuse, "", 511 << 20, ocf.Generic, false},
		{"no", preflight.MemoryIgnore, "", 0, ocf.Success, false},
		{"huge pages", preflight.MemoryRefuse, pages, 0, ocf.Success, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "start")
			log, hook := test.NewNullLogger()
			w.agent.Log, w.free, w.agent.Params.Memory = log, c.free, c.mode
			w.write("vm1.xml", strings.Replace(guestXML, "</domain>", "<memory unit='MiB'>512</memory>"+c.extra+"</domain>", 1))
			err, _ := w.run("start")
			checkExit(t, err, c.want, map[ocf.ExitCode]string{ocf.Generic: "the node has 511 MiB of memory free, and the guest needs 512 MiB"}[c.want])
			if created := slices.Contains(w.calls, "create"); created != (c.want == ocf.Success) {
				t.Errorf("did %v", w.calls)
			}
			warned := slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool {
				return e.Level == logrus.WarnLevel && strings.Contains(e.Message, "may not have memory")
			})
			if warned != c.warned {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}
