package lab_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/report"
)

// wholeXen reports whether all of the parts on Xen are to be run (make test-xen), or those
// that tell most in a short time (make test).
func wholeXen() bool { return os.Getenv("VMFERRY_XEN") == "all" }

// testXenScenarios is the main job on Xen: graceful shutdown and crash under Pacemaker. The whole has the peer beside us,
// and a graceful shutdown under Heartbeat.
func testXenScenarios(t *testing.T, b bench) {
	pacemaker := []string{"--guests", "1", "--manager", cluster.PacemakerName}
	heartbeat := []string{"--guests", "1", "--manager", cluster.HeartbeatName, "--scenario", report.GracefulShutdown}
	var scenarios []report.Scenario
	want := 2
	if wholeXen() {
		want = 5
		scenarios = slices.Concat(b.demo(t, pacemaker...), b.demo(t, heartbeat...))
	} else {
		scenarios = b.demo(t, append(pacemaker, "--agent", report.Ours, "--leave")...) // it is the last part
	}
	if len(scenarios) != want {
		t.Errorf("%d scenarios ran, want %d", len(scenarios), want)
	}
	for _, s := range scenarios {
		if s.Hypervisor != cluster.Xen.Name {
			t.Errorf("%s ran on %q", s.Name, s.Hypervisor)
		}
		checkScenario(t, s)
	}
}

// testXenOCFT runs the peer's suite against our agent, with the file that the peer would get.
func testXenOCFT(t *testing.T, b bench) {
	suite{"Xen", cluster.Xen.URI, []string{
		"Agent Xen", "Agent Domain",
		"AgentRoot /usr/lib/ocf/resource.d/heartbeat", "AgentRoot /usr/lib/ocf/resource.d/vmferry",
		"OCFT_xmfile=/etc/xen/vm/xen-f", "OCFT_xmfile=/shared/guests/vm1.cfg",
	}, nil}.run(t, b)
}

// xenCopies lists what xl list reports a node: the domains but for dom0.
func xenCopies(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 6 && words[0] != "Name" && words[0] != "Domain-0" {
			names = append(names, words[0])
		}
	}
	return names
}

func TestXenCopies(t *testing.T) {
	const text = `Name                                        ID   Mem VCPUs	State	Time(s)
Domain-0                                     0  1024     1     r-----     213.4
vm1--incoming                                4   128     1     --p---       0.0
(null)                                       5     0     1     --ps-d       4.1
`
	if got := strings.Join(xenCopies(text), " "); got != "vm1--incoming (null)" {
		t.Errorf("got %q", got)
	}
}
