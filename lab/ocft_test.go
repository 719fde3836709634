package lab_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// suite is one of the peers' suites, as Debian's resource-agents ships it, with what must be
// put in place of the peer's agent.
type suite struct {
	name    string
	uri     string   // of the hypervisor
	replace []string // old, new, …
	differ  []string // the cases in which we differ on purpose, see README.md
}

var suites = []suite{
	{"VirtualDomain", "qemu:///system", []string{
		"Agent VirtualDomain", "Agent Domain",
		"AgentRoot /usr/lib/ocf/resource.d/heartbeat", "AgentRoot /usr/lib/ocf/resource.d/vmferry",
		"OCFT_config=/etc/libvirt/qemu/sle11-sp3.xml", "OCFT_config=/shared/guests/vm1.xml",
	}, nil},
	// No Xen here: the guest is described to our agent by its XML.
	{"Xen", "qemu:///system", []string{
		"Agent Xen", "Agent Domain",
		"AgentRoot /usr/lib/ocf/resource.d/heartbeat", "AgentRoot /usr/lib/ocf/resource.d/vmferry",
		"OCFT_xmfile=/etc/xen/vm/xen-f", "OCFT_xmfile=/shared/guests/vm1.xml",
		"OCF_RESKEY_xmfile", "OCF_RESKEY_config",
	}, []string{"check base env: unset 'OCF_RESKEY_config'"}},
}

var ocftCase = regexp.MustCompile(`(?m)^\w+: (.*) - (OK|FAILED)\.`)

// testOCFT runs the peers' suites against our agent: the share's one, or all.
func testOCFT(t *testing.T, b bench) {
	for i, s := range suites {
		if shareOf(t).hasOf(i, len(suites)) {
			t.Run(s.name, func(t *testing.T) { s.run(t, b) })
		}
	}
}

// run runs a suite. What is replaced in it is replaced here, when it runs: nothing of theirs is kept.
func (s suite) run(t *testing.T, b bench) {
	dir := filepath.Join(b.dir, "shared", "ocft")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := b.run(t, "shell", "node1", "cat", "/usr/share/resource-agents/ocft/configs/"+s.name)
	for i := 0; i < len(s.replace); i += 2 {
		if !strings.Contains(text, s.replace[i]) {
			t.Fatalf("the suite has no %q to replace:\n%s", s.replace[i], text)
		}
		text = strings.ReplaceAll(text, s.replace[i], s.replace[i+1])
	}
	if err := os.WriteFile(filepath.Join(dir, s.name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b.run(t, "shell", "node1", "ocft", "make", "-d", "/shared/ocft", s.name)
	out, _ := b.try(t, "shell", "node1", "env", "HA_RSCTMP=/run", "OCF_RESKEY_hypervisor="+s.uri,
		"OCF_RESKEY_force_stop=true", "ocft", "test", s.name)
	b.run(t, "shell", "node1", "ocft", "clean", s.name)
	checkCases(t, s, strings.Count(text, "\nCASE \""), plain(out))
}

// plain takes the colours out of a text.
func plain(text string) string {
	return regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(text, "")
}

// checkCases wants every case to be OK, but for those in which we differ.
func checkCases(t *testing.T, s suite, want int, out string) {
	t.Helper()
	passed := 0
	for _, m := range ocftCase.FindAllStringSubmatch(out, -1) {
		differs := slices.Contains(s.differ, m[1])
		if differs == (m[2] == "OK") {
			t.Errorf("case %q: %s", m[1], m[2])
			continue
		}
		passed++
	}
	if passed != want {
		t.Errorf("%d of %d cases ended as they should:\n%s", passed, want, out)
	}
	t.Logf("%s: %d of %d cases, of which we differ in %d", s.name, passed, want, len(s.differ))
}
