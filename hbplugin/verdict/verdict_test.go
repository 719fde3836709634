package verdict

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

var (
	snapshot = &preflight.Refusal{Check: preflight.CheckSource, Reason: "it has a snapshot",
		Hint: "type: virsh snapshot-delete web s"}
	usualParams = param.Params{Ladder: ladder.Default}
	noBridge    = &preflight.Refusal{Check: preflight.CheckNetwork, Reason: "n2 has no bridge br7", Hint: "make it"}
	noImage     = &preflight.Refusal{Check: preflight.CheckDisk, Reason: "n2 lacks /srv/a.iso", Hint: "eject it"}
)

func refused(r ...*preflight.Refusal) Answer {
	return Answer{Examination: migrate.Examination{Refusals: r}}
}

func TestDecide(t *testing.T) {
	live := hbplugin.Verdict{Resource: "web", Fate: hbplugin.MovesLive, To: "n2"}
	banned := hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops, Why: "location ban"}
	restarts := hbplugin.Verdict{Resource: "web", Fate: hbplugin.Restarts, To: "n2", Why: "allow-migrate is not set",
		Remedy: "set it"}
	usual := Guest{Params: usualParams}
	saving := param.Params{Ladder: []ladder.Rung{ladder.Live, ladder.Save}, SaveDir: "/saves"}
	for _, tt := range []struct {
		name    string
		said    hbplugin.Verdict
		guest   Guest
		answers map[string]Answer
		want    hbplugin.Verdict
	}{
		{"nothing in the way", live, usual, map[string]Answer{"n2": {}}, live},
		{"something goes along", live, usual,
			map[string]Answer{"n2": {Examination: migrate.Examination{With: []string{"disk vda is copied"}}}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.MovesWith, To: "n2",
				With: []string{"disk vda is copied"}}},
		{"the source refuses", live, usual, map[string]Answer{"n2": refused(snapshot)},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Restarts, To: "n2", Why: "it has a snapshot",
				Remedy: "type: virsh snapshot-delete web s"}},
		{"and it is saved", live, Guest{Params: saving}, map[string]Answer{"n2": refused(snapshot)},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Restarts, To: "n2", Why: "it has a snapshot",
				Remedy: "type: virsh snapshot-delete web s",
				With:   []string{"its memory is saved to shared storage and restored there"}}},
		{"the target could not even start it", live, usual, map[string]Answer{"n2": refused(noImage)},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why: "n2 lacks /srv/a.iso; for that it cannot be started on n2 either", Remedy: "eject it"}},
		{"nor without its bridge", live, usual,
			map[string]Answer{"n2": refused(&preflight.Refusal{Check: preflight.CheckNetwork, Reason: "n2 has no br77",
				Hint: "make it"})},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why: "n2 has no br77; for that it cannot be started on n2 either", Remedy: "make it"}},
		{"a disk that only a move would bring", live, usual,
			map[string]Answer{"n2": {Examination: migrate.Examination{Refusals: []*preflight.Refusal{snapshot},
				Lacks: []string{"n2 lacks vda"}}}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why:    "it has a snapshot; it cannot be started on n2: n2 lacks vda",
				Remedy: "type: virsh snapshot-delete web s"}},
		{"a disk that the move brings", live, usual,
			map[string]Answer{"n2": {Examination: migrate.Examination{Lacks: []string{"n2 lacks vda"}}}}, live},
		{"nor with its bridge", live, usual, map[string]Answer{"n2": refused(noBridge)},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why: "n2 has no bridge br7; for that it cannot be started on n2 either", Remedy: "make it"}},
		{"another node can", live, usual, map[string]Answer{"n2": refused(noImage), "n3": {}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Restarts, To: "n3", Why: "n2 lacks /srv/a.iso",
				Remedy: "eject it"}},
		{"another node cannot either", live, usual, map[string]Answer{"n2": refused(noImage), "n3": refused(noImage)},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why: "n2 lacks /srv/a.iso; for that it cannot be started on n2 either", Remedy: "eject it"}},
		{"a node that was not examined is no place", live, usual,
			map[string]Answer{"n2": refused(noImage), "n3": {Err: errors.New("no answer")}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why: "n2 lacks /srv/a.iso; for that it cannot be started on n2 either", Remedy: "eject it"}},
		{"no live on the ladder", live, Guest{Resource: "web",
			Params: param.Params{Ladder: []ladder.Rung{ladder.Shutdown}}}, map[string]Answer{"n2": {}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Restarts, To: "n2", Why: "its ladder does not name live",
				Remedy: "add live to the parameter ladder of resource web"}},
		{"a parameter that a move cannot use", live,
			Guest{Resource: "web", Params: usualParams,
				Problems: []param.Problem{{Param: "migrateuri",
					Err: &ocf.Error{Reason: "migrateuri is not a URI"}}}}, map[string]Answer{"n2": {}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Restarts, To: "n2", Why: "migrateuri is not a URI",
				Remedy: "correct the parameter migrateuri of resource web"}},
		{"a parameter that a start cannot use", live,
			Guest{Resource: "web", Params: usualParams,
				Problems: []param.Problem{{Param: "snapshot",
					Err: &ocf.Error{Reason: "snapshot and force_stop are both set"}}}}, map[string]Answer{"n2": {}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why:    "the agent starts it nowhere: snapshot and force_stop are both set",
				Remedy: "correct the parameter snapshot of resource web"}},
		{"a parameter that a rule decides", live,
			Guest{Resource: "web", Params: usualParams,
				Problems: []param.Problem{{Param: "config", Err: &ocf.Error{Reason: "config is not set"}}},
				Ruled:    []string{"config", "target-role"}},
			map[string]Answer{"n2": {}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Unknown, To: "n2",
				Why: "a rule decides its parameter config, and rules are not evaluated here"}},
		{"one that matters to no move", live,
			Guest{Resource: "web", Params: usualParams, Ruled: []string{"blackout_budget", "start"}},
			map[string]Answer{"n2": {}}, live},
		{"nobody asked the target", live, usual, nil,
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Unknown, To: "n2",
				Why: "node n2 was not examined: it was not asked"}},
		{"the examination failed", live, usual, map[string]Answer{"n2": {Err: errors.New("time is up")}},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Unknown, To: "n2",
				Why: "node n2 was not examined: time is up"}},
		{"no place by the manager's word", banned, usual, nil, banned},
		{"restarted by the manager's word", restarts, usual, map[string]Answer{"n2": refused(snapshot)}, restarts},
		{"and there it cannot be started", restarts, usual, map[string]Answer{"n2": refused(noImage)},
			hbplugin.Verdict{Resource: "web", Fate: hbplugin.Stops,
				Why:    "allow-migrate is not set; it cannot be started on n2: n2 lacks /srv/a.iso",
				Remedy: "set it; eject it"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Decide(tt.said, tt.guest, tt.answers); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("\n got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// world is a cluster of which a test says what each node answers.
type world struct {
	said []hbplugin.Verdict
	err  error
	at   map[string]migrate.Examination // by guest and node
	mu   sync.Mutex
	reqs []migrate.Request
}

func (w *world) asker() Asker {
	return Asker{
		Forecast:   func(context.Context) ([]hbplugin.Verdict, error) { return w.said, w.err },
		Candidates: func(context.Context) ([]string, error) { return []string{"n2", "n3"}, nil },
		Request: func(_ context.Context, g Guest, node string) (migrate.Request, error) {
			if node == "nowhere" {
				return migrate.Request{}, errors.New("no URI")
			}
			return migrate.Request{Guest: g.Name, Target: node, Disks: preflight.DisksAuto}, nil
		},
		Examine: func(ctx context.Context, req migrate.Request) (migrate.Examination, error) {
			w.mu.Lock()
			w.reqs = append(w.reqs, req)
			w.mu.Unlock()
			x, ok := w.at[req.Guest+" "+req.Target]
			if !ok {
				<-ctx.Done()
				return x, context.Cause(ctx)
			}
			return x, nil
		},
	}
}

func fates(all []hbplugin.Verdict) string {
	var out []string
	for _, v := range all {
		out = append(out, v.Resource+" "+string(v.Fate)+" "+v.To)
	}
	return strings.Join(out, "; ")
}

func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{said: []hbplugin.Verdict{
			{Resource: "a", Fate: hbplugin.MovesLive, To: "n2"},
			{Resource: "b", Fate: hbplugin.MovesLive, To: "n2", Others: []string{"n3"}},
			{Resource: "c", Fate: hbplugin.MovesLive, To: "n2"}, {Resource: "d", Fate: hbplugin.Stops, Why: "banned"},
			{Resource: "e", Fate: hbplugin.MovesLive, To: "nowhere"},
			{Resource: "f", Fate: hbplugin.MovesLive, To: "n2"},
			{Resource: "g", Fate: hbplugin.Restarts, To: "n2"}, {Resource: "h", Fate: hbplugin.MovesLive, To: "n2"},
		}, at: map[string]migrate.Examination{
			"ga n2": {}, "gb n2": {Refusals: []*preflight.Refusal{noImage}}, "gb n3": {},
			"gg n2": {Refusals: []*preflight.Refusal{snapshot}},
			"gh n2": {Refusals: []*preflight.Refusal{noImage}}, "gh n3": {}, // the manager does not start it on n3
		}}
		guests := []Guest{{Resource: "a", Name: "ga"}, {Resource: "b", Name: "gb"}, {Resource: "d", Name: "gd"},
			{Resource: "e", Name: "ge"},
			{Resource: "f", Name: "gf"}, {Resource: "g", Name: "gg"}, {Resource: "h", Name: "gh"}}
		for i := range guests {
			guests[i].Params = usualParams
		}
		got := w.asker().Ask(t.Context(), guests)
		want := "a moves live n2; b restarted elsewhere n3; c cannot tell n2; d stopped, no place ; e cannot tell nowhere; f cannot tell n2; g restarted elsewhere n2; h stopped, no place "
		if fates(got) != want {
			t.Errorf("\n got %s\nwant %s", fates(got), want)
		}
		if why := got[5].Why; !strings.Contains(why, "no answer within 1m0s") {
			t.Errorf("a target that gives no answer: %q", why)
		}
		for _, req := range w.reqs {
			if copies := req.Disks == preflight.DisksAuto; copies != (req.Target == "n2" && req.Guest != "gg") {
				t.Errorf("%s on %s is examined with disks=%s", req.Guest, req.Target, req.Disks)
			}
		}
	})
}

func TestNoForecast(t *testing.T) {
	w := &world{err: errors.New("crm_simulate: no answer")}
	got := w.asker().Ask(t.Context(), []Guest{{Resource: "a", Name: "ga"}})
	want := []hbplugin.Verdict{{Resource: "a", Fate: hbplugin.Unknown, Why: "crm_simulate: no answer"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// manager is a cluster manager with one peer that is up.
type manager struct {
	hbplugin.Cluster
	world
}

func (m *manager) Forecast(context.Context) ([]hbplugin.Verdict, error) { return m.said, m.err }
func (m *manager) Peers(context.Context) ([]elsewhere.Peer, error) {
	return []elsewhere.Peer{{Name: "n2", State: elsewhere.PeerUp}, {Name: "n3", State: elsewhere.PeerDown}}, nil
}

// TestFor: the request is the agent's own, with the address that the cluster has for the node.
func TestFor(t *testing.T) {
	asked := ""
	command := func(_ context.Context, name string, args ...string) (string, error) {
		asked = strings.Join(append([]string{name}, args...), " ")
		return "192.0.2.2\n", nil
	}
	open := func(context.Context, string) (endpoint.Host, error) { return nil, errors.New("refused") }
	a := For(&manager{}, open, command)
	if nodes, err := a.Candidates(t.Context()); err != nil || !reflect.DeepEqual(nodes, []string{"n2"}) {
		t.Errorf("candidates %v, %v", nodes, err)
	}
	env := param.ParseEnviron([]string{"OCF_RESKEY_config=/x.xml", "OCF_RESKEY_hypervisor=qemu:///system",
		"OCF_RESKEY_migration_transport=tcp",
		"OCF_RESKEY_node_ip_attribute=fast", "OCF_RESKEY_migration_speed=7", "OCF_RESKEY_disks=auto",
		"OCF_RESKEY_start_resources=true"})
	guests := Guests([]hbplugin.Claim{{Resource: "web", Environ: env}, {Resource: "gone"}},
		[]notes.Guest{{Guest: "Web 1", UUID: "u", Resource: "web"}})
	if len(guests) != 1 {
		t.Fatalf("guests %+v", guests)
	}
	req, err := a.Request(t.Context(), guests[0], "n2")
	want := migrate.Request{Guest: "Web 1", UUID: "u", SourceURI: "qemu:///system", Target: "n2",
		TargetURI:  "qemu+tcp://192.0.2.2/system",
		MigrateURI: "tcp://192.0.2.2", Bandwidth: 7, Disks: preflight.DisksAuto, Memory: preflight.MemoryWarn,
		StartsNetworks: true}
	if err != nil || !reflect.DeepEqual(req, want) || !strings.Contains(asked, "--name fast") {
		t.Errorf("\n got %+v, %v\nwant %+v; asked %q", req, err, want, asked)
	}
	x, err := a.Examine(t.Context(), req)
	if err != nil || len(x.Refusals) != 1 || x.Refusals[0].Check != preflight.CheckSource {
		t.Errorf("a libvirt that refuses: %+v, %v", x, err)
	}
}
