package pacemaker

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
)

var simulator = flag.String("crm-simulate", "", "ask this crm_simulate, and rewrite what testdata/forecast holds of it")

// scheduler is Pacemaker with the CIB of one case. The answers of crm_simulate are those of Pacemaker 3.0.0.
type scheduler struct {
	t    *testing.T
	name string
	ran  [][]string
	copy []byte // of the CIB, as crm_simulate got it
}

func (s *scheduler) file(kind any) string {
	return filepath.Join("testdata", "forecast", fmt.Sprintf("%s.%v.xml", s.name, kind))
}

func (s *scheduler) run(ctx context.Context, program string, args ...string) (string, error) {
	out, err := s.answer(ctx, program, args)
	return string(out), err
}

func (s *scheduler) answer(ctx context.Context, program string, args []string) ([]byte, error) {
	if program != "crm_simulate" {
		return os.ReadFile(s.file("cib"))
	}
	s.ran = append(s.ran, args)
	if s.copy == nil {
		s.copy = read(s.t, args[1])
	}
	n := len(s.ran)
	if *simulator != "" {
		return s.record(ctx, n, args)
	}
	out, err := os.ReadFile(s.file(n))
	if n > 1 && errors.Is(err, fs.ErrNotExist) {
		return quiet(read(s.t, s.file(n-1))), nil
	}
	return out, err
}

var (
	revised = regexp.MustCompile(`(?s)<revised_cluster_status>(.*)</revised_cluster_status>`)
	request = regexp.MustCompile(`request="[^"]*"`)
)

// record asks the real program. A simulation in which nothing happens is not kept.
func (s *scheduler) record(ctx context.Context, n int, args []string) ([]byte, error) {
	said, err := Exec(ctx, *simulator, args...)
	out := []byte(said)
	if err != nil || n > 1 && bytes.Contains(out, []byte("<transition/>")) {
		return out, err
	}
	return out, os.WriteFile(s.file(n), request.ReplaceAll(out, []byte(`request="crm_simulate"`)), 0o644)
}

// quiet is the simulation that follows another one when nothing is left to do.
func quiet(before []byte) []byte {
	state := string(revised.FindSubmatch(before)[1])
	return []byte("<pacemaker-result><cluster_status>" + state +
		"</cluster_status><actions/><transition/><revised_cluster_status>" +
		state + `</revised_cluster_status><status code="0"/></pacemaker-result>`)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s *scheduler) client() *Client {
	return &Client{Node: "n1", Agents: bothAgents, Run: s.run, Proc: proc(s.t, alive)}
}

// line is a verdict as the table has it: resource | fate | to | why | remedy, and what goes along.
func line(v hbplugin.Verdict) string {
	return strings.TrimSpace(strings.Join([]string{v.Resource, string(v.Fate), v.To, v.Why, v.Remedy +
		strings.Join(v.With, "; ")}, " | "))
}

func TestForecast(t *testing.T) {
	files, err := filepath.Glob("testdata/forecast/*.cib.xml")
	if err != nil || len(files) != len(forecasts) {
		t.Errorf("%d cases, %d CIBs, %v", len(forecasts), len(files), err)
	}
	for name, want := range forecasts {
		t.Run(name, func(t *testing.T) {
			s := &scheduler{t: t, name: name}
			verdicts, err := s.client().Forecast(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range verdicts {
				got = append(got, line(v))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// The simulation works on a copy that only this user can read, and nothing of it is left behind.
func TestForecastLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := &scheduler{t: t, name: "live"}
	var mode fs.FileMode
	c := s.client()
	c.Run = func(ctx context.Context, program string, args ...string) (string, error) {
		if program == "crm_simulate" && mode == 0 {
			info, err := os.Stat(args[1])
			if err != nil {
				t.Fatal(err)
			}
			mode = info.Mode()
		}
		return s.run(ctx, program, args...)
	}
	if _, err := c.Forecast(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 || mode != 0o600 {
		t.Errorf("left %v, %v; mode %v", left, err, mode)
	}
	if !bytes.Contains(s.copy, []byte(`name="standby" value="on"`)) {
		t.Errorf("no standby in the copy: %s", s.copy)
	}
	if s.ran[1][1] != s.ran[0][3] {
		t.Errorf("the second transition does not begin where the first ended: %q", s.ran)
	}
}

func TestForecastFails(t *testing.T) {
	refused := errors.New("refused")
	whole := string(read(t, "testdata/forecast/live.cib.xml"))
	done := string(read(t, "testdata/forecast/live.1.xml"))
	failed := `<pacemaker-result><status code="1" message="Error"><errors><error>Transition failed: terminated</error></errors></status></pacemaker-result>`
	for _, tt := range []struct {
		name   string
		answer map[string]string
		fail   map[string]error
		want   string
	}{
		{"no CIB", nil, map[string]error{"cibadmin": refused}, "refused"},
		{"a CIB that was cut short", map[string]string{"cibadmin": whole[:len(whole)/2]}, nil, "EOF"},
		{"a CIB without us", map[string]string{"cibadmin": strings.ReplaceAll(whole, `"n1"`, `"n9"`)}, nil,
			`does not know node "n1"`},
		{"no crm_simulate", map[string]string{"cibadmin": whole}, map[string]error{"crm_simulate": refused}, "refused"},
		{"crm_simulate is not installed", map[string]string{"cibadmin": whole},
			map[string]error{"crm_simulate": exec.ErrNotFound}, "apt-get install"},
		{"an invalid transition", map[string]string{"cibadmin": whole, "crm_simulate": failed},
			map[string]error{"crm_simulate": refused}, "Transition failed: terminated"},
		{"an answer that was cut short", map[string]string{"cibadmin": whole, "crm_simulate": done[:len(done)/2]},
			nil, "EOF"},
		{"no simulation", map[string]string{"cibadmin": whole, "crm_simulate": nodesXML()}, nil, "no simulation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, &programs{answer: tt.answer, fail: tt.fail})
			c.Node = "n1"
			got, err := c.Forecast(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || got != nil {
				t.Errorf("%v, error %v, want %q", got, err, tt.want)
			}
		})
	}
	c := &Client{Proc: proc(t)}
	if _, err := c.Forecast(t.Context()); !errors.Is(err, errNotRunning) {
		t.Errorf("no pacemaker: %v", err)
	}
}

// What the caller experiments with must not be taken for the cluster.
func TestExecHidesAnotherCIB(t *testing.T) {
	for _, name := range []string{"CIB_file", "CIB_shadow", "CIB_server"} {
		t.Setenv(name, "elsewhere")
	}
	out, err := Exec(t.Context(), "env")
	if err != nil || strings.Contains(out, "elsewhere") {
		t.Errorf("%s, %v", out, err)
	}
}

// forecasts are the cases: a CIB in testdata/forecast each, and what becomes of the guests of n1.
var forecasts = map[string][]string{
	"allow-migrate-by-defaults": {
		`a | moves live | n2 |  |`,
	},
	"allow-migrate-false-in-group": {
		`a | restarted elsewhere | n2 | allow-migrate is not set | type: crm_resource --resource a --meta --set-parameter allow-migrate --parameter-value true`,
	},
	"allow-migrate-unset": {
		`a | restarted elsewhere | n2 | allow-migrate is not set | type: crm_resource --resource a --meta --set-parameter allow-migrate --parameter-value true`,
	},
	"anti-colocated": {
		`a | stopped, no place |  | n2: colocation "apart" keeps it away from "b", which runs there |`,
	},
	"anti-colocated-reverse": {
		`a | moves with | n2 |  | guest "b" on n2: stopped, no place`,
	},
	"arriving": {
		`a | restarted elsewhere | n2 | a migrate_from of it is under way on n1 | wait until that is done; type: crm_resource --wait`,
	},
	"arriving-begun": {
		`a | restarted elsewhere | n2 | a migrate_to of it is under way on n2 | wait until that is done; type: crm_resource --wait`,
	},
	"asymmetric": {
		`a | stopped, no place |  | n2: no location constraint allows it there (symmetric-cluster is false) | type: cibadmin --create --scope constraints --xml-text '<rsc_location id="allow-a-on-n2" rsc="a" node="n2" score="0"/>'`,
	},
	"asymmetric-optin": {
		`a | moves live | n2 |  |`,
	},
	"ban-by-role": {
		`a | moves live | n2 |  |`,
	},
	"banned": {
		`a | stopped, no place |  | n2: location constraint "loc-a-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-a-n2"/>'`,
	},
	"banned-from-all": {
		`a | stopped, no place |  | n2: location constraint "loc-a-n2" forbids it (-INFINITY); n3: location constraint "loc-a-n3" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-a-n2"/>'`,
	},
	"blank-attributes": {
		`a | stopped, no place |  | n2: location constraint "rack-a" forbids it by the rule rack ne "A & B" (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="rack-a"/>'`,
	},
	"bundle-node": {
		`a | moves live | n2 |  |`,
	},
	"cli-banned": {
		`a | stopped, no place |  | n2: location constraint "cli-ban-a-on-n2" forbids it (-INFINITY) | type: crm_resource --clear --resource a`,
	},
	"clone-everywhere": {
		`a | stopped, no place |  | n2: an instance runs there already |`,
	},
	"clone-unique": {
		`a:0 | moves live | n2 |  |`,
	},
	"clone-with-room": {
		`a | moves live | n3 |  |`,
	},
	"colocated-banned": {
		`a | stopped, no place |  | n2: colocation "col-a-fs" keeps it with "fs", which does not run there: location constraint "loc-fs-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-fs-n2"/>'`,
	},
	"colocated-live": {
		`a | moves live | n2 |  |`,
	},
	"colocated-two-full": {
		`a | moves live | n2 |  |`,
		`b | stopped, no place |  | n2: m 32 does not fit on n2, which has 8 left of 40 | if n2 really has that much, type: crm_attribute --node n2 --utilization --name m --update 64`,
	},
	"colocated-with-dependency": {
		`a | restarted elsewhere | n2 | unmigrateable fs stop: order "ord-fs-a" starts it after "fs", and "fs" is moved by a restart (allow-migrate is not set) | run "fs" on all nodes as a clone with interleave=true, or, if its agent can, move it live too`,
	},
	"colocation-set": {
		`a | stopped, no place |  | n2: colocation "cset" keeps it with "fs", which does not run there: location constraint "loc-fs-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-fs-n2"/>'`,
	},
	"dated-ban": {
		`a | stopped, no place |  | n2: location constraint "cli-ban-a-on-n2" forbids it by the rule #uname eq "n2" and a date (-INFINITY) | type: crm_resource --clear --resource a`,
	},
	"degraded": {
		`a | moves live | n2 |  |`,
	},
	"dependency-on-other-node": {
		`a | stopped, no place |  | n2: colocation "not-with-fs" keeps it away from "fs", which runs there |`,
	},
	"disabled-dependency-group": {
		`a | stopped, no place |  | n2: it comes after "ip" in group "g", which does not run there: target-role is Stopped | type: crm_resource --resource ip --meta --set-parameter target-role --parameter-value Started`,
	},
	"displaces": {
		`a | moves with | n2 |  | guest "b" on n2: stopped, no place`,
	},
	"displaces-live": {
		`a | moves with | n2 |  | guest "b" on n2: stopped, no place`,
	},
	"exclusive": {
		`a | stopped, no place |  | n2: location constraint "pin-a" pins it to other nodes (resource-discovery=exclusive) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="pin-a"/>'`,
	},
	"expired-ban": {
		`a | moves live | n2 |  |`,
	},
	"failed-here": {
		`a | restarted elsewhere | n2 | it has failed here: Pacemaker recovers a failed resource by a restart | type: crm_resource --cleanup --resource a --node n1`,
	},
	"failed-on-peer": {
		`a | stopped, no place |  | n2: it has failed there: its fail-count is INFINITY | type: crm_resource --cleanup --resource a --node n2`,
	},
	"failed-start-of-dependency": {
		`a | stopped, no place |  | n2: colocation "col-a-fs" keeps it with "fs", which does not run there: it has failed there: its fail-count is INFINITY | type: crm_resource --cleanup --resource fs --node n2`,
	},
	"finite-negative": {
		`a | stopped, no place |  | n2: location constraint "loc-a-n2" forbids it (-1000) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-a-n2"/>'`,
	},
	"group-banned": {
		`a | stopped, no place |  | n2: location constraint "loc-g-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-g-n2"/>'`,
	},
	"group-banned-member": {
		`a | stopped, no place |  | n2: it comes after "ip" in group "g", which does not run there: location constraint "loc-ip-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-ip-n2"/>'`,
	},
	"group-target-role-stopped": {
		`a | stopped, no place |  | target-role is Stopped (by "g") | type: crm_resource --resource g --meta --set-parameter target-role --parameter-value Started`,
	},
	"group-two": {
		`a | moves live | n2 |  |`,
		`b | moves live | n2 |  |`,
	},
	"group-unmigratable-first": {
		`a | restarted elsewhere | n2 | unmigrateable ip stop: it comes after "ip" in group "g", and "ip" is moved by a restart (allow-migrate is not set) | run "ip" on all nodes as a clone with interleave=true, or, if its agent can, move it live too`,
	},
	"group-unmigratable-last": {
		`a | moves live | n2 |  |`,
	},
	"guest-node": {
		`a | moves live | n2 |  |`,
	},
	"guest-node-only-peer": {
		`a | stopped, no place |  | n2: it is offline | on n2, type: systemctl start pacemaker`,
	},
	"here-is-remote": {
		`a | moves live | n3 |  |`,
	},
	"live": {
		`a | moves live | n2 |  |`,
	},
	"live-three": {
		`a | moves live | n2 |  |`,
		`b | moves live | n3 |  |`,
	},
	"location-set": {
		`a | stopped, no place |  | n2: location constraint "set-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="set-n2"/>'`,
		`b | moves live | n2 |  |`,
	},
	"maintenance-by-defaults": {
		`a | stays |  | it is not managed: is-managed is false (by the resource defaults) | type: crm_resource --resource a --meta --set-parameter is-managed --parameter-value true`,
	},
	"maintenance-mode": {
		`a | stays |  | the cluster is in maintenance mode | type: crm_attribute --name maintenance-mode --update false`,
	},
	"migration-threshold-default": {
		`a | stopped, no place |  | n2: it has failed there: its fail-count is 2, and migration-threshold is 2 | type: crm_resource --cleanup --resource a --node n2`,
	},
	"move-failed": {
		`a | restarted elsewhere | n2 | it has failed here: Pacemaker recovers a failed resource by a restart | type: crm_resource --cleanup --resource a --node n1`,
	},
	"move-half-done": {
		`a | moves live | n2 |  |`,
	},
	"move-under-way": {
		`a | moves live | n2 |  |`,
	},
	"multiply-active": {
		`a | restarted elsewhere | n2 | it is active on more than one node: n1, n2 | see that it runs once, then type: crm_resource --cleanup --resource a`,
	},
	"multiply-active-block": {
		`a | stays |  | it is active on more than one node: n1, n2 | see that it runs once, then type: crm_resource --cleanup --resource a`,
	},
	"no-fence-device": {
		`a | stays |  | fencing is enabled (stonith-enabled) and no fence device is configured: Pacemaker starts and moves nothing | configure a fence device; where guests may be lost, type: crm_attribute --name stonith-enabled --update false`,
	},
	"no-quorum-demote": {
		`a | stopped, no place |  | this part of the cluster has no quorum | start Pacemaker on the nodes that are down`,
	},
	"no-quorum-freeze": {
		`a | moves live | n2 |  |`,
	},
	"no-quorum-ignore": {
		`a | moves live | n2 |  |`,
	},
	"no-quorum-stop": {
		`a | stopped, no place |  | this part of the cluster has no quorum | start Pacemaker on the nodes that are down`,
	},
	"node-maintenance": {
		`a | stays |  | this node is in maintenance | type: crm_attribute --node n1 --name maintenance --delete`,
	},
	"not-configured-on-peer": {
		`a | stopped, no place |  | n2: it has failed there: its fail-count is INFINITY | type: crm_resource --cleanup --resource a --node n2`,
	},
	"not-installed-on-peer": {
		`a | stopped, no place |  | n2: its agent answered 5 there (not installed) | repair it there, then type: crm_resource --cleanup --resource a --node n2`,
	},
	"odd-name": {
		`Web_1.x | restarted elsewhere | n2 | allow-migrate is not set | type: crm_resource --resource Web_1.x --meta --set-parameter allow-migrate --parameter-value true`,
	},
	"order-asymmetrical": {
		`a | moves live | n2 |  |`,
	},
	"order-clone": {
		`a | moves live | n2 |  |`,
	},
	"order-clone-not-on-peer": {
		`a | stopped, no place |  | n2: colocation "col-a-stc" keeps it with "stc", which does not run there: location constraint "loc-stc-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-stc-n2"/>'`,
	},
	"order-guest-not-migratable": {
		`a | restarted elsewhere | n2 | allow-migrate is not set | type: crm_resource --resource a --meta --set-parameter allow-migrate --parameter-value true`,
		`b | restarted elsewhere | n2 | unmigrateable a stop: order "ord-a-b" starts it after "a", and "a" is moved by a restart (allow-migrate is not set) | type: crm_resource --resource a --meta --set-parameter allow-migrate --parameter-value true`,
	},
	"order-optional": {
		`a | moves live | n2 |  |`,
	},
	"order-set": {
		`a | restarted elsewhere | n2 | unmigrateable ip stop: order "oset" starts it after "ip", and "ip" is moved by a restart (allow-migrate is not set) | run "ip" on all nodes as a clone with interleave=true, or, if its agent can, move it live too`,
	},
	"order-stopped-first": {
		`a | stopped, no place |  | unrunnable fs start: order "ord-fs-a" starts it after "fs", and for "fs": target-role is Stopped | type: crm_resource --resource fs --meta --set-parameter target-role --parameter-value Started`,
	},
	"order-two-guests": {
		`a | moves live | n2 |  |`,
		`b | moves live | n2 |  |`,
	},
	"pattern": {
		`a | stopped, no place |  | n2: location constraint "pat" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="pat"/>'`,
	},
	"peer-drained": {
		`a | stopped, no place |  | n2: it is in standby until it reboots | on n2, type: vmferry undrain; or: crm_attribute --node n2 --name standby --lifetime reboot --delete`,
	},
	"peer-joining": {
		`a | stopped, no place |  | n2: it is offline | on n2, type: systemctl start pacemaker`,
	},
	"peer-maintenance": {
		`a | stopped, no place |  | n2: it is in maintenance | type: crm_attribute --node n2 --name maintenance --delete`,
	},
	"peer-offline": {
		`a | stopped, no place |  | n2: it is offline | on n2, type: systemctl start pacemaker`,
	},
	"peer-shutdown": {
		`a | stopped, no place |  | n2: Pacemaker shuts down there |`,
	},
	"peer-standby": {
		`a | stopped, no place |  | n2: it is in standby | type: crm_attribute --node n2 --name standby --delete`,
	},
	"peer-to-be-fenced": {
		`a | stopped, no place |  | n2: it is unclean, or still joining; n3: location constraint "loc-a-n3" forbids it (-INFINITY) | type: crm_mon -1`,
	},
	"peer-unclean-no-quorum": {
		`a | stopped, no place |  | n2: it is unclean, or still joining; n3: it is offline | type: crm_mon -1`,
	},
	"peer-unhealthy": {
		`a | stopped, no place |  | n2: its health is bad: #health-smart is red | repair it, then type: crm_attribute --node n2 --name '#health-smart' --update green`,
	},
	"permanent-standby": {
		`a | stopped, no place |  | n2: location constraint "loc-a-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-a-n2"/>'`,
	},
	"prefers-here": {
		`a | moves live | n2 |  |`,
	},
	"promoted": {
		`a | restarted elsewhere | n2 | unmigrateable ms_data demote: order "ord-ms_data-a" starts it after "ms_data" | move the promoted role at a time when the guest may stop`,
	},
	"promoted-no-peer": {
		`a | stopped, no place |  | n2: colocation "col-a-ms_data" keeps it with "ms_data", which does not run there as Promoted: location constraint "loc-ms_data-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-ms_data-n2"/>'`,
	},
	"promoted-two": {
		`a | restarted elsewhere | n2 | unmigrateable ms_data demote: order "ord-ms_data-a" starts it after "ms_data" | move the promoted role at a time when the guest may stop`,
	},
	"remote-node-goes-on": {
		`a | moves live | r1 |  |`,
	},
	"remote-node-peer": {
		`a | stopped, no place |  | r1: its connection ends when this node is in standby | type: crm_resource --why --resource r1`,
	},
	"resource-defaults-rule": {
		`a | moves live | n2 |  |`,
	},
	"resource-defaults-rule-elsewhere": {
		`a | restarted elsewhere | n2 | a rule decides allow-migrate, and does not set it here now | type: crm_resource --resource a --meta --set-parameter allow-migrate --parameter-value true`,
	},
	"resource-maintenance": {
		`a | stays |  | maintenance is set | type: crm_resource --resource a --meta --set-parameter maintenance --parameter-value false`,
	},
	"rule-attribute": {
		`a | stopped, no place |  | n2: location constraint "site-a" forbids it by the rule site ne "x" (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="site-a"/>'`,
	},
	"rule-not-defined": {
		`a | stopped, no place |  | n2: location constraint "ring-a" forbids it by the rule ring not_defined or ring lte "0" (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="ring-a"/>'`,
	},
	"rule-uname": {
		`a | stopped, no place |  | n2: location constraint "here-a" forbids it by the rule #uname ne "n1" (-INFINITY); n3: location constraint "here-a" forbids it by the rule #uname ne "n1" (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="here-a"/>'`,
	},
	"score-attribute": {
		`a | stopped, no place |  | n2: location constraint "weight" forbids it by the rule w defined (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="weight"/>'`,
	},
	"second-transition": {
		`a | moves with | n2 |  | guest "c" on n2: moves live n3`,
		`b | stopped, no place |  | n2: m 32 does not fit on n2, which has 8 left of 40; n3: m 32 does not fit on n3, which has 0 left of 32 | if n2 really has that much, type: crm_attribute --node n2 --utilization --name m --update 64`,
	},
	"self-to-be-fenced": {
		`a | restarted elsewhere | n2 | Pacemaker fences this node first: a failed there | type: crm_mon -1rf`,
	},
	"serialize-set": {
		`a | moves live | n2 |  |`,
		`b | moves live | n2 |  |`,
	},
	"single-node": {
		`a | stopped, no place |  | the cluster has no other node |`,
	},
	"standby-off-already": {
		`a | moves live | n2 |  |`,
	},
	"start-elsewhere-pending": {
		`a | moves live | n2 |  |`,
	},
	"start-pending": {
		`a | moves live | n2 |  |`,
	},
	"stickiness": {
		`a | moves live | n2 |  |`,
	},
	"stop-all": {
		`a | stopped, no place |  | the cluster stops everything: stop-all-resources is true | type: crm_attribute --name stop-all-resources --update false`,
	},
	"stop-failed-here": {
		`a | stays |  | its stop has failed here, and Pacemaker touches it no more | type: crm_resource --cleanup --resource a`,
	},
	"stop-under-way": {
		`a | stopped, no place |  | its stop is under way |`,
	},
	"storage-clone-member-down": {
		`a | stopped, no place |  | n2: colocation "col-a-lvmc" keeps it with "lvmc", which does not run there: it has failed there: its fail-count is INFINITY | type: crm_resource --cleanup --resource lvm --node n2`,
	},
	"tag": {
		`a | stopped, no place |  | n2: location constraint "tagged" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="tagged"/>'`,
	},
	"target-role-stopped": {
		`a | stopped, no place |  | target-role is Stopped | type: crm_resource --resource a --meta --set-parameter target-role --parameter-value Started`,
	},
	"template": {
		`a | stopped, no place |  | n2: location constraint "loc-vm-n2" forbids it (-INFINITY) | if that is not what you want, type: cibadmin --delete --xml-text '<rsc_location id="loc-vm-n2"/>'`,
	},
	"three-nodes-mixed": {
		`a | stopped, no place |  | n2: it is in standby; n3: location constraint "loc-a-n3" forbids it (-INFINITY) | type: crm_attribute --node n2 --name standby --delete`,
		`b | restarted elsewhere | n3 | allow-migrate is not set | type: crm_resource --resource b --meta --set-parameter allow-migrate --parameter-value true`,
	},
	"threshold": {
		`a | stopped, no place |  | n2: it has failed there: its fail-count is 3, and migration-threshold is 3 | type: crm_resource --cleanup --resource a --node n2`,
	},
	"ticket": {
		`a | stopped, no place |  | it depends on ticket "T" (t-a) | type: crm_ticket --info --ticket T`,
	},
	"unmanaged": {
		`a | stays |  | it is not managed: is-managed is false | type: crm_resource --resource a --meta --set-parameter is-managed --parameter-value true`,
	},
	"unmanaged-dependent": {
		`a | moves live | n2 |  |`,
	},
	"unmanaged-group": {
		`a | stays |  | it is not managed: is-managed is false (by "g") | type: crm_resource --resource g --meta --set-parameter is-managed --parameter-value true`,
	},
	"unprobed-peer": {
		`a | moves live | n2 |  |`,
	},
	"utilization-asymmetric-attr": {
		`a | stopped, no place |  | n2: cpu 2 does not fit on n2, which has 0 | if n2 really has that much, type: crm_attribute --node n2 --utilization --name cpu --update 2`,
	},
	"utilization-none": {
		`a | stopped, no place |  | n2: hv_memory 32 does not fit on n2, which has 0 | if n2 really has that much, type: crm_attribute --node n2 --utilization --name hv_memory --update 32`,
	},
	"utilization-one-fits": {
		`a | moves live | n2 |  |`,
		`b | stopped, no place |  | n2: host_memory 32 does not fit on n2, which has 8 left of 40 | if n2 really has that much, type: crm_attribute --node n2 --utilization --name host_memory --update 64`,
	},
	"utilization-priority": {
		`b | moves live | n2 |  |`,
		`a | stopped, no place |  | n2: host_memory 32 does not fit on n2, which has 8 left of 40 | if n2 really has that much, type: crm_attribute --node n2 --utilization --name host_memory --update 64`,
	},
}
