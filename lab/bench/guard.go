package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/partition"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/resource/notes"
)

// guardName and sbdName are the sides of the benches of the guard. Agent, guests and nodes are the same.
const (
	guardName = "the guard"
	sbdName   = "SBD's delay"
)

// guardPlan is one bench of the guard.
type guardPlan struct {
	token time.Duration
	homes []int         // the node of each guest, as in [partition.Matrix]
	pace  time.Duration // between two probes of one target
	ours  partition.Cut
	peer  partition.Cut
	crash bool // the loser dies, and its guests' silence begins with that
}

// guardCrash measures a node that dies with two guests: until the first start is done, and until the last guest answers.
func guardCrash(token time.Duration) func(context.Context, *Stage) ([]Result, error) {
	return func(ctx context.Context, s *Stage) ([]Result, error) {
		cut := partition.Named("crash")
		p := guardPlan{token: token, homes: []int{cut.Loser, cut.Loser}, pace: crashPace, ours: cut, peer: cut, crash: true}
		p.peer.Recover = time.Minute // it takes what it takes
		ours, peer, err := s.guardSides(ctx, p)
		if err != nil {
			return nil, err
		}
		most, suffix := "5.5 s", fmt.Sprintf("-%ds", int(token.Seconds()))
		if token > time.Second {
			most = "8 s"
		}
		start := func(t guardTurn) (float64, bool) { return t.since(startDone) }
		return []Result{
			p.result("guard-crash-to-start"+suffix, ours, peer, start, fmt.Sprintf("a node dies, until the first of its two "+
				"guests is started on the other one, token %s; to reach: %s and a ratio of 0.45", token, most)),
			p.result("guard-crash-to-answer"+suffix, ours, peer, silences, fmt.Sprintf("the same until the last of the two "+
				"answers over UDP; Pacemaker starts both at once; to reach: a ratio of 0.6")),
		}, nil
	}
}

// guardSplit measures how long the guest on the node that loses is silent when the link is cut. name is of the
// partition matrix's cut.
func guardSplit(result, name, about string) func(context.Context, *Stage) ([]Result, error) {
	return func(ctx context.Context, s *Stage) ([]Result, error) {
		p := guardPlan{token: time.Second, homes: []int{0, 1}, ours: partition.Named(name), peer: partition.Shot}
		// A guest that is silent for long, or that is killed where it should be moved, is in the figure.
		p.ours.Silence, p.ours.Live, p.ours.Recover = 0, false, time.Minute
		ours, peer, err := s.guardSides(ctx, p)
		if err != nil {
			return nil, err
		}
		return []Result{p.result(result, ours, peer, silences, about)}, nil
	}
}

// result compares the sides in one figure.
func (p guardPlan) result(name string, ours, peer guardTurns, of func(guardTurn) (float64, bool), about string) Result {
	r := compare(name, "s", sbdName, ours.values(of), peer.values(of))
	r.OursEnded, r.PeerEnded = ours.ended(), peer.ended()
	r.Notes = slices.Concat([]string{about, sbdAbout, fmt.Sprintf("p90: %.2f s, %.2f s with %s", r.Ours.P90, r.Peer.P90, sbdName)},
		guardNotes(ours, peer, p.crash))
	return r
}

// guardSides lets both sides have their turns: all of ours, then all of the peer's, as the cluster changes its fence
// device in between. Afterwards the cluster is as it was.
func (s *Stage) guardSides(ctx context.Context, p guardPlan) (ours, peer guardTurns, err error) {
	guests, err := scenario.MakeGuests(ctx, s.Cluster, s.Shared, len(p.homes))
	if err != nil {
		return nil, nil, err
	}
	r, err := s.runner(guests, p.pace)
	if err != nil {
		return nil, nil, err
	}
	m := &partition.Matrix{Runner: r, Lease: guarded.Lease(s.Shared), Homes: p.homes}
	err = r.Run(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return m.Watch(ctx) })
		group.Go(func() (err error) {
			defer cancel()
			defer func() { err = errors.Join(err, s.restore(context.WithoutCancel(ctx), r)) }()
			if err := s.prepareGuard(ctx, m, p.token); err != nil {
				return err
			}
			if ours, err = s.guardTurns(ctx, m, p.ours, guardName); err != nil {
				return err
			}
			if err := s.fenceBySBD(ctx); err != nil {
				return err
			}
			peer, err = s.guardTurns(ctx, m, p.peer, sbdName)
			return err
		})
		return group.Wait()
	})
	return ours, peer, err
}

// prepareGuard takes back what a run that broke off has left, and has the cluster run the guests.
func (s *Stage) prepareGuard(ctx context.Context, m *partition.Matrix, token time.Duration) error {
	if err := m.Take(ctx); err != nil {
		return err
	}
	if err := s.fenceByGuard(ctx); err != nil {
		return err
	}
	if err := s.setToken(ctx, token); err != nil {
		return err
	}
	if err := s.setUnhurried(ctx, true); err != nil {
		return err
	}
	return m.Place(ctx)
}

// restoreTime bounds the way back.
const restoreTime = 3 * time.Minute

// restore takes the guests away and gives the cluster its own settings again.
func (s *Stage) restore(ctx context.Context, r *scenario.Runner) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTime, errors.New("the cluster does not come to rest"))
	defer cancel()
	return errors.Join(s.Cluster.AwaitOnline(ctx, s.Progress), r.Remove(ctx, s.node()), s.fenceByGuard(ctx),
		s.setToken(ctx, node.Containers.Token), s.setUnhurried(ctx, false))
}

// guardTurns makes one cut again and again.
func (s *Stage) guardTurns(ctx context.Context, m *partition.Matrix, c partition.Cut, who string) (all guardTurns, err error) {
	for n := range s.N {
		s.Progress(fmt.Sprintf("%s: turn %d of %d, %s", c.Name, n+1, s.N, who))
		made, err := m.Make(ctx, c)
		if err != nil {
			return nil, err
		}
		t, err := s.guardSeen(ctx, m, c, made)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// guardSeen adds to what the matrix saw of a cut what the nodes have logged and recorded.
func (s *Stage) guardSeen(ctx context.Context, m *partition.Matrix, c partition.Cut, made partition.Result) (t guardTurn, err error) {
	survivor, loser := s.Cluster.Nodes[1-c.Loser], s.Cluster.Nodes[c.Loser]
	t.failures, t.at[failed] = made.Failures, made.Begun
	var names []string
	for i, g := range m.Guests {
		if m.Homes[i] == c.Loser {
			names, t.silence = append(names, g.Name), max(t.silence, made.SilenceS[i])
		}
	}
	text, err := s.Cluster.Run(ctx, survivor, "journalctl", "--output=short-unix", "--no-pager", "--quiet",
		"--since=@"+strconv.FormatInt(made.Begun.Unix(), 10), "--identifier=corosync", "--identifier=pacemaker-controld")
	if err != nil {
		return t, err
	}
	t.journal(text, names)
	for _, of := range []struct {
		node string
		kind journal.Kind
		into **journal.Event
	}{{survivor, journal.Fenced, &t.verdict}, {loser, journal.Surrendered, &t.surrender}} {
		// A node on which the guard has done nothing yet has no such file.
		records, _ := s.Cluster.Run(ctx, of.node, "cat", filepath.Join(notes.DefaultStateDir, journal.File))
		*of.into = guardEvent(records, of.kind, made.Begun)
	}
	return t, nil
}

// setToken sets Corosync's token. Both nodes must be members.
func (s *Stage) setToken(ctx context.Context, token time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, errors.New("corosync did not take it"))
	defer cancel()
	edit := fmt.Sprintf("--expression=s/^ *token:.*/    token: %d/", token.Milliseconds())
	for _, name := range s.Cluster.Nodes {
		if _, err := s.Cluster.Run(ctx, name, "sed", "--in-place", edit, ring.CorosyncConf); err != nil {
			return err
		}
	}
	if _, err := s.Cluster.Run(ctx, s.node(), "corosync-cfgtool", "-R"); err != nil {
		return err
	}
	return cluster.Await(ctx, "corosync to take its configuration", func(ctx context.Context) (bool, error) {
		d, err := s.detection(ctx)
		return err == nil && d.Token == token, err
	})
}

// awaitDevices waits until every node's fencer knows the peer's devices, or has forgotten them.
func (s *Stage) awaitDevices(ctx context.Context, there bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, agentTime, errors.New("the cluster manager does not take it"))
	defer cancel()
	return cluster.Await(ctx, "Pacemaker to change its fence device", func(ctx context.Context) (bool, error) {
		for _, name := range s.Cluster.Nodes {
			text, err := s.Cluster.Run(ctx, name, "stonith_admin", "--list-registered")
			if err != nil {
				return false, err
			}
			for _, target := range s.Cluster.Nodes {
				if slices.Contains(strings.Fields(text), sbdDevice(target)) != there {
					return false, fmt.Errorf("%s has the devices %q", name, strings.TrimSpace(text))
				}
			}
		}
		return true, nil
	})
}
