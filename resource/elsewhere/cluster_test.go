package elsewhere

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/observe"
)

const guestUUID = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"

// peer is the libvirt of another node, which has the guest in a state, or not.
type peer struct {
	observe.Hypervisor // nothing but what is below is called
	status             libvirt.Status
	hangs              bool
}

func (p peer) Residents(ctx context.Context) ([]libvirt.Resident, error) {
	if p.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if !p.status.State.Active() {
		return nil, nil
	}
	return []libvirt.Resident{{Name: "vm1", UUID: p.status.UUID}}, nil
}

func (p peer) Status(context.Context, string) (libvirt.Status, error) {
	if p.status.UUID == "" {
		return libvirt.Status{}, libvirt.ErrNoDomain
	}
	return p.status, nil
}

func (p peer) Close() error { return nil }

func cluster(t *testing.T, peers map[string]peer, members ...Peer) (*Cluster, *test.Hook) {
	log, hook := test.NewNullLogger()
	var now time.Duration
	return &Cluster{
		Guest: &observe.Identity{Name: "vm1", UUID: guestUUID}, Node: "node1", CallTime: 10 * time.Second, Log: log,
		Census: Census{newNotes(t), func() time.Duration { now += time.Second; return now }},
		Open: func(_ context.Context, uri string) (observe.Hypervisor, error) {
			if p, ok := peers[uri]; ok {
				return p, nil
			}
			return nil, libvirt.ErrConnect
		},
		URI:   func(_ context.Context, node string) (string, error) { return node, nil },
		Peers: func(context.Context) ([]Peer, error) { return members, nil },
	}, hook
}

func TestAsk(t *testing.T) {
	up := Peer{Name: "node2", State: PeerUp}
	runs := peer{status: libvirt.Status{State: libvirt.Running, Reason: "booted", UUID: guestUUID}}
	other := peer{status: libvirt.Status{State: libvirt.Running, UUID: "99999999-2222-4333-8444-555555555555"}}
	for _, c := range []struct {
		name    string
		peer    *peer // nil: cannot be reached
		pending string
		want    Presence
		fails   bool
		took    time.Duration
	}{
		{"runs it", &runs, "", Running, false, 0},
		{"has none", &peer{}, "", Nothing, false, 0},
		{"runs another guest of its name", &other, "", Nothing, false, 0},
		{"cannot be reached", nil, "", Nothing, true, 0},
		{"cannot be reached, and must answer", nil, "node2", Unanswered, true, 0},
		{"hangs", &peer{hangs: true}, "", Nothing, true, peerTime},
		{"hangs, and must answer", &peer{hangs: true}, "node2", Unanswered, true, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			peers := map[string]peer{}
			if c.peer != nil {
				peers["node2"] = *c.peer
			}
			cl, hook := cluster(t, peers, up)
			began := time.Now()
			all := cl.Ask(t.Context(), c.pending)
			if len(all) != 1 || all[0].Presence != c.want || (all[0].Err != nil) != c.fails || time.Since(began) != c.took {
				t.Errorf("%s: %+v after %v", c.name, all, time.Since(began))
			}
			_ = cl.Ask(t.Context(), c.pending)
			unproven := c.fails && c.want == Nothing
			if n := len(hook.AllEntries()); (n == 1) != unproven || n > 1 {
				t.Errorf("%s: logged %d times in two rounds", c.name, n)
			}
		})
	}
}

// Where the manager gives no answer, only a peer of a migration whose end is not known is asked.
func TestAskWithoutAManager(t *testing.T) {
	cl, hook := cluster(t, nil)
	cl.Peers = func(context.Context) ([]Peer, error) { return nil, errors.New("crm_mon: not connected") }
	if all := cl.Ask(t.Context(), ""); len(all) > 0 {
		t.Errorf("asked %+v", all)
	}
	if all := cl.Ask(t.Context(), "node9"); len(all) != 1 || all[0].Presence != Unanswered {
		t.Errorf("%+v", all)
	}
	if e := hook.AllEntries(); len(e) != 1 || e[0].Level != logrus.WarnLevel {
		t.Errorf("logged %+v", e)
	}
}

func TestHasAndRunsAt(t *testing.T) {
	status := func(s libvirt.State, id string) peer { return peer{status: libvirt.Status{State: s, UUID: id}} }
	for _, c := range []struct {
		name      string
		peer      peer
		has, runs bool
	}{
		{"runs", status(libvirt.Running, guestUUID), true, true},
		{"paused", status(libvirt.Paused, guestUUID), true, false},
		{"shut off", status(libvirt.ShutOff, guestUUID), false, false},
		{"another guest", status(libvirt.Running, "99999999-2222-4333-8444-555555555555"), false, false},
		{"none", peer{}, false, false},
	} {
		cl, _ := cluster(t, map[string]peer{"node2": c.peer})
		has, err := cl.Has(t.Context(), "node2")
		if err != nil || has != c.has {
			t.Errorf("%s: has %t, %v", c.name, has, err)
		}
		if err := cl.RunsAt(t.Context(), "node2"); (err == nil) != c.runs {
			t.Errorf("%s: runs: %v", c.name, err)
		}
	}
	cl, _ := cluster(t, nil)
	if _, err := cl.Has(t.Context(), "node2"); err == nil {
		t.Error("a node that cannot be reached has none")
	}
}
