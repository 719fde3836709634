package forecast

import (
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

func TestAbout(t *testing.T) {
	for reason, want := range map[string][2]string{
		"unmigrateable fs stop":        {"fs", "stop"},
		"unrunnable fs stop":           {"fs", "stop"},
		"required ip start":            {"ip", "start"},
		"colocation with ip":           {"ip", ""},
		"node availability":            {},
		"resource definition change":   {},
		"being multiply active":        {},
		"unmigrateable stop":           {},
		"unmigrateable fs:0 demote":    {"fs:0", "demote"},
		"":                             {},
		"something new and unheard of": {},
	} {
		if name, task := about(reason); name != want[0] || task != want[1] {
			t.Errorf("%q: %q, %q", reason, name, task)
		}
	}
}

// What Pacemaker 2.1.5 says of a dependency that is restarted is explained as what 3.0 says of it.
func TestOlderReason(t *testing.T) {
	conf, err := cib.ParseConfig(strings.NewReader(`<configuration><resources>
<primitive id="fs" class="ocf" provider="heartbeat" type="Filesystem"/>
<primitive id="a" class="ocf" provider="vmferry" type="Domain"><meta_attributes id="m"><nvpair name="allow-migrate" value="true"/></meta_attributes></primitive>
</resources><constraints><rsc_order id="o" first="fs" then="a"/></constraints></configuration>`))
	if err != nil {
		t.Fatal(err)
	}
	at := func(node string) cib.Status {
		p := cib.Place{ID: "a", Agent: "ocf:vmferry:Domain", Nodes: []string{node}, Managed: true}
		return cib.Status{Resources: []cib.Place{p}, Places: map[string]cib.Place{"a": p}}
	}
	for _, reason := range []string{"unrunnable fs stop", "unmigrateable fs stop"} {
		run := cib.Simulation{Before: at("n1"), After: at("n2"),
			Actions: []cib.Action{{Kind: "move", Resource: "a", From: "n1", To: "n2", Reason: reason}}}
		got := Verdicts(conf, []cib.Simulation{run}, "n1", []string{"ocf:vmferry:Domain"})
		want := reason + `: order "o" starts it after "fs", and "fs" is moved by a restart (allow-migrate is not set)`
		if len(got) != 1 || got[0].Why != want {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}

// What is printed to be typed reaches the program as it was meant.
func TestCommandCanBePasted(t *testing.T) {
	for want, args := range map[string][]string{
		`crm_resource --resource web-1.a`:  {"crm_resource", "--resource", "web-1.a"},
		`a 'b c' ''`:                       {"a", "b c", ""},
		`a 'it'\''s' '$HOME' '~' '*' '#x'`: {"a", "it's", "$HOME", "~", "*", "#x"},
		`a 'x;y' '<r id="1"/>' b=c`:        {"a", "x;y", `<r id="1"/>`, "b=c"},
	} {
		if got := command(args...); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
