package heartbeat

import (
	"maps"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
)

func TestVerdict(t *testing.T) {
	up, dead := elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp},
		elsewhere.Peer{Name: "node3", State: elsewhere.PeerUnknown}
	live := Entry{Name: "web", Params: map[string]string{"config": "/web.xml"}}
	pinned := Entry{Name: "web", Params: map[string]string{"config": "/web.xml", "ladder": "shutdown"}}
	for _, tt := range []struct {
		name  string
		entry Entry
		state state
		peers []elsewhere.Peer
		want  hbplugin.Verdict
	}{
		{"the other node takes it", live, local, []elsewhere.Peer{dead, up},
			hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "node2"}},
		{"held for the other node", live, all, []elsewhere.Peer{up},
			hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "node2"}},
		{"nobody is there", live, local, []elsewhere.Peer{dead},
			hbplugin.Verdict{Fate: hbplugin.Stops, Why: "no other node is active",
				Remedy: "on node3, type: systemctl start heartbeat"}},
		{"not by its ladder", pinned, local, []elsewhere.Peer{up},
			hbplugin.Verdict{Fate: hbplugin.Restarts, To: "node2", Why: "ladder", Remedy: "add live"}},
		{"not by its ladder, nobody is there", pinned, local, []elsewhere.Peer{dead},
			hbplugin.Verdict{Fate: hbplugin.Stops, Why: "no other node", Remedy: "systemctl"}},
		{"its line cannot be found", Entry{Name: "web", Stuck: "haresources: no"}, local, []elsewhere.Peer{up},
			hbplugin.Verdict{Fate: hbplugin.Stays, Why: "haresources: no", Remedy: "put another"}},
		{"at work", live, transition, []elsewhere.Peer{up},
			hbplugin.Verdict{Fate: hbplugin.Unknown, Why: "is moving resources", Remedy: "ask again"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := verdict(tt.entry, tt.state, tt.peers)
			if got.Resource != "web" || got.Fate != tt.want.Fate || got.To != tt.want.To {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			said := func(text, want string) bool { return strings.Contains(text, want) && (text == "") == (want == "") }
			if !said(got.Why, tt.want.Why) || !said(got.Remedy, tt.want.Remedy) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestForecast(t *testing.T) {
	for _, tt := range []struct{ state, peer, want string }{
		{"local", "active", "web moves live node2"},
		{"all", "active", "web moves live node2; /srv/mail.xml moves live node2"},
		{"all", "dead", "web stopped, no place ; /srv/mail.xml stopped, no place "},
		{"none", "active", ""},
		{"transition", "active", "web cannot tell ; /srv/mail.xml cannot tell "},
	} {
		t.Run(tt.state+" "+tt.peer, func(t *testing.T) {
			verdicts, err := client(t, pair(tt.state, tt.peer)).Forecast(t.Context())
			var got []string
			for _, v := range verdicts {
				got = append(got, v.Resource+" "+string(v.Fate)+" "+v.To)
			}
			if strings.Join(got, "; ") != tt.want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestForecastFails(t *testing.T) {
	silent := pair("local", "active")
	silent.fail["rscstatus"] = errRefused
	if got, err := client(t, silent).Forecast(t.Context()); err == nil {
		t.Errorf("cl_status fails: %v and no error", got)
	}
	gone := client(t, pair("local", "active"))
	gone.Proc = t.TempDir()
	show(t, gone.Proc, hostproctest.Process{PID: 1, Comm: "systemd"})
	if got, err := gone.Forecast(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "systemctl start heartbeat") {
		t.Errorf("no heartbeat: %v, %v", got, err)
	}
	unread := client(t, pair("local", "active"))
	unread.Haresources += "-none"
	if got, err := unread.Forecast(t.Context()); err == nil {
		t.Errorf("no haresources: %v and no error", got)
	}
}

func TestClaims(t *testing.T) {
	got, err := client(t, pair("local", "active")).Claims(t.Context())
	if err != nil || len(got) != 2 || got[0].Resource != "web" ||
		got[0].Environ.Params.File() != "/etc/libvirt/qemu/web.xml" ||
		got[1].Environ.Params.File() != "/srv/mail.xml" || got[0].Meta != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParams(t *testing.T) {
	text := "n1 IPaddr::10.0.0.1 vmferry::web::migration_transport=tcp::timeout=300 \\\n  vmferry::/vm/db.xml\n#n1 vmferry::web::timeout=1\n"
	want := []map[string]string{
		{"config": "/etc/libvirt/qemu/web.xml", "migration_transport": "tcp", "timeout": "300"},
		{"config": "/vm/db.xml"},
	}
	entries := ParseHaresources(text)
	if len(entries) != len(want) {
		t.Fatalf("%+v", entries)
	}
	for i, e := range entries {
		if !maps.Equal(e.Params, want[i]) {
			t.Errorf("%s: %v, want %v", e.Name, e.Params, want[i])
		}
	}
}
