package report

import (
	"bytes"
	"strings"
	"testing"
)

// onXen is a report with another peer than QEMU's, and with baselines.
func onXen() *Report {
	r := sample(1, 10, 60)
	r.Environment.Xen = "4.20"
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		s.Hypervisor = "xen"
		if s.Agent == Peer {
			s.Agent = "Xen"
		}
	}
	r.Baselines = []Baseline{
		{Name: SuspendResume, Hypervisor: "xen", Guest: "vm1", Node: "node1", PauseMS: ptr(30.0),
			UDP: &UDP{BlackoutMS: 612}, TCP: &TCP{BlackoutMS: 640}},
		{Name: SaveRestore, Hypervisor: "xen", Guest: "vm1", Node: "node1", UDP: &UDP{BlackoutMS: 9000, Open: true}},
	}
	return r
}

func TestAnotherPeer(t *testing.T) {
	var text, page bytes.Buffer
	r := onXen()
	if err := r.WriteTable(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.render(&page); err != nil {
		t.Fatal(err)
	}
	for where, out := range map[string]string{"table": text.String(), "page": page.String()} {
		if strings.Contains(out, Peer) {
			t.Errorf("the %s names an agent that did not run", where)
		}
		for _, want := range []string{SuspendResume, SaveRestore, "612 ms", "≥ 9000 ms", "Xen"} {
			if !strings.Contains(out, want) {
				t.Errorf("the %s has no %q", where, want)
			}
		}
	}
	if !strings.Contains(page.String(), "582 ms") {
		t.Error("the page does not say what was beyond the pause")
	}
	if want := "Xen 107 ms (0.45×)"; !strings.Contains(text.String(), want) {
		t.Errorf("the table has no %q:\n%s", want, text.String())
	}
}
