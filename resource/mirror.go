package resource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/timely"
)

// Mirror is what an [Agent] needs for guests whose disks are mirrored; see package migrate/mirror.
type Mirror struct {
	Store  mirror.Store // without a Dir that of mirror.DefaultDir
	Engine MirrorEngine // of no use but to a start, and to a guest that comes here
	// Peer asks a node for its manifest of a guest, nil where it has none, and changes nothing there.
	Peer func(ctx context.Context, node, guest, uuid string) (*mirror.Manifest, error)
	// IsDead reports whether Heartbeat calls a node dead, which its Peers do not say, and whether it switches such a one
	// off first; nil with another manager.
	IsDead func(ctx context.Context, node string) (dead, fenced bool)
	// Daemon has this node's vmferry-mirror "close" the mirror of a resource's guest that has ended, "hold" its rounds
	// or "release" them.
	Daemon func(ctx context.Context, verb, resource string) error
	// HandOver prepares a move to the node of the replica, which then has to copy no more than what the guest writes
	// meanwhile. false: the whole disks are copied, unless there is an error.
	HandOver func(ctx context.Context, node, guest, uuid string, log logrus.FieldLogger) (bool, error)
	// Fold ends what HandOver has begun where the guest runs here; else there is nothing to do.
	Fold func(ctx context.Context, guest, uuid string) error
}

// MirrorEngine changes a replica's files. Whoever calls it holds the guest's lock. What was cut short is done again.
type MirrorEngine interface {
	// Recover finishes what was cut short, and removes what the manifest does not name; without one it does nothing.
	Recover(ctx context.Context, uuid string) error
	// Promote makes the replica the truth of an epoch, which is not closed. disks are the guest's, by target and path, and
	// the manifest says lost. tell has the cluster keep the epoch; where Promote refuses, it is not called.
	Promote(ctx context.Context, uuid string, epoch uint64, disks []mirror.Disk, lost time.Duration,
		tell func(context.Context) error) error
	// Leave makes the disks the replica of a guest that was handed over, and is proven to run at the peer.
	Leave(ctx context.Context, uuid string) error
}

// mirrored is a guest that is mirrored.
type mirrored struct {
	*run
	peer, uuid string
	store      mirror.Store
}

// mirrored is nil for a guest that is not mirrored. The error says why this one cannot be.
func (a *run) mirrored() (m *mirrored, err error) {
	if len(a.Params.Mirror.Nodes) == 0 {
		return nil, nil
	}
	m = &mirrored{run: a, uuid: strings.ToLower(a.guest.UUID), store: a.Mirror.Store}
	if m.store.Dir == "" {
		m.store.Dir = mirror.DefaultDir
	}
	m.peer, err = a.Params.Mirror.Peer(a.Node)
	if err == nil && (m.uuid == "" || a.hasMadeUUID) {
		err = fmt.Errorf("the mirror needs its UUID in config file %q, the same on both nodes: type uuidgen, and write "+
			"what it says as <uuid>…</uuid> below <name>", a.Params.File())
	}
	return m, err
}

// open takes the guest's lock, and reads this node's manifest, nil where there is none.
func (m *mirrored) open(ctx context.Context) (own *mirror.Manifest, unlock func(), err error) {
	unlock, err = timely.Get(ctx, func() (func(), error) { return m.store.Lock(m.uuid) })
	if err == nil {
		own, err = m.own(ctx)
	}
	return own, unlock, err
}

func (m *mirrored) own(ctx context.Context) (*mirror.Manifest, error) {
	own, err := timely.Get(ctx, func() (mirror.Manifest, error) { return m.store.Load(m.uuid) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &own, err
}

// become notes that the disks here are the truth of an epoch. The cluster is told first.
func (m *mirrored) become(ctx context.Context, own *mirror.Manifest, epoch uint64) error {
	next := mirror.Manifest{Point: mirror.Point{Epoch: epoch}}
	if own != nil && own.Role == mirror.Truth && own.Epoch == epoch {
		next = *own
	} else if own != nil { // what is left of a replica is found by its disks
		next.Overlay, next.Folding = own.Arriving || own.Role == mirror.Truth && own.Overlay, own.Folding
		guests := domainxml.DiskFiles(m.config.domain.Text)
		if own.Role == mirror.Replica && len(guests) == 0 {
			return errors.New("the guest's configuration names no disk")
		}
		for _, d := range own.Disks { // a replica's were chosen by the other node, and a truth's are renamed when it becomes old
			bare := mirror.Disk{Target: d.Target, Path: d.Path}
			if own.Role == mirror.Truth || slices.Contains(guests, bare) {
				bare.Size = d.Size
				next.Disks = append(next.Disks, bare)
			}
		}
		for _, s := range own.States { // a close sends what is named
			next.States = append(next.States, mirror.State{Path: s.Path})
		}
	}
	next.Guest, next.UUID, next.Peer, next.Role = m.guest.Name, m.uuid, m.peer, mirror.Truth
	next.Closed, next.Ran = false, false
	err := m.publish(ctx, epoch)
	if err == nil {
		err = timely.Do(ctx, func() error { return m.store.Save(next) })
	}
	if err == nil {
		m.noteCurrent(m.Instance)
	}
	return err
}

// judge decides whether the guest, which runs nowhere, may be started from the disks here, and makes a replica the truth
// where it may: then promoted says what this loses.
func (s *starter) judge(ctx context.Context) (promoted *mirror.Decision, err error) {
	m, err := s.mirrored()
	if m == nil || err != nil {
		return nil, err
	}
	if m.Mirror.Engine == nil {
		return nil, errors.New("this program cannot work on its replica")
	}
	own, unlock, err := m.open(ctx)
	if unlock != nil {
		defer unlock()
	}
	if err != nil {
		return nil, err
	}
	if own != nil && own.Guest != m.guest.Name { // the other node has named it: its NVRAM is found by the name
		return nil, fmt.Errorf("the copy of its disks here is of guest %q: if nobody needs it, type vmferry mirror forget %s",
			own.Guest, m.uuid)
	}
	k, accepted, acceptance := m.known(ctx, own)
	own, d, err := m.decide(ctx, own, k, accepted)
	if err != nil {
		return nil, err
	}
	m.step("judged")
	if d.Verdict == mirror.Refuse {
		return nil, m.refused(d, k, own != nil)
	}
	disks := domainxml.DiskFiles(m.config.domain.Text)
	err = timely.Do(ctx, func() (err error) {
		for _, disk := range disks {
			if _, missing := os.Stat(disk.Path); own == nil { // a first start is made where they are
				err = cmp.Or(err, missing)
			}
		}
		if accepted { // it is for one start
			err = cmp.Or(err, os.Remove(acceptance))
		}
		return err
	})
	if err == nil && d.Verdict == mirror.Start {
		if err = m.images.check(ctx); err == nil {
			err = m.become(ctx, own, d.Epoch)
		}
	}
	if err == nil && d.Verdict == mirror.Start && d.Loss > 0 {
		m.Log.Warnf("the guest was on its way to %s: what it may have written there is lost, %s", m.peer, d.Lost())
		return &d, nil
	}
	if err != nil || d.Verdict == mirror.Start {
		return nil, err
	}
	return m.promote(ctx, own, d, disks)
}

// promote makes the replica here the truth.
func (m *mirrored) promote(ctx context.Context, own *mirror.Manifest, d mirror.Decision, disks []mirror.Disk) (
	*mirror.Decision, error,
) {
	if own.Role == mirror.Promoting {
		d.Loss = time.Duration(own.Lost * float64(time.Second))
	}
	tell := func(ctx context.Context) error { return m.publish(ctx, d.Epoch) }
	err := timely.Do(ctx, func() error { return m.Mirror.Engine.Promote(ctx, m.uuid, d.Epoch, disks, d.Loss, tell) })
	if err != nil {
		return nil, err
	}
	m.noteCurrent(m.Instance)
	m.Log.Warn("started from the replica: lost " + d.Lost())
	if oldest, newest := own.Span(); oldest.At != newest.At {
		m.Log.Warnf("its disks are not of one instant: %s is %.0f s older than %s", oldest.Target,
			newest.Taken.Sub(oldest.Taken).Seconds(), newest.Target)
	}
	m.images.arrived(ctx) // what a move has noted was about the disks in whose place the replica is
	m.images.forgetMoves(ctx)
	m.step("promoted")
	return &d, nil
}

// decide judges a start, and what was cut short is finished before, unless that removes what came here with a guest.
func (m *mirrored) decide(ctx context.Context, own *mirror.Manifest, k mirror.Known, accepted bool) (
	*mirror.Manifest, mirror.Decision, error) {
	if k.HasArrived(own) {
		if err := m.become(ctx, own, max(k.Epoch, k.Peer.Epoch)+1); err != nil {
			return own, mirror.Decision{}, err
		}
	} else if own != nil && own.Arriving {
		d := mirror.Judge(own, k, m.Params.Mirror.MaxLoss, time.Now(), accepted)
		if d.Verdict == mirror.Refuse {
			return own, d, nil
		}
	}
	err := timely.Do(ctx, func() error { return m.Mirror.Engine.Recover(ctx, m.uuid) })
	if err == nil {
		own, err = m.own(ctx)
	}
	return own, mirror.Judge(own, k, m.Params.Mirror.MaxLoss, time.Now(), accepted), err
}

// known is what can be found out. An operator accepts what is lost by a file that names the point that own has.
func (m *mirrored) known(ctx context.Context, own *mirror.Manifest) (k mirror.Known, accepted bool, file string) {
	e := m.gather(ctx)
	if own == nil {
		return e.weigh(mirror.Manifest{}, m.Node, m.peer), false, ""
	}
	file = strings.TrimSuffix(m.store.Path(m.uuid), ".json") + ".accept"
	raw, err := timely.Get(ctx, func() ([]byte, error) {
		return safefile.Read(file, 1<<10, safefile.Only(0, uint32(os.Geteuid())))
	})
	accepted = err == nil && strings.TrimSpace(string(raw)) == own.Point.String()
	k = e.weigh(*own, m.Node, m.peer)
	k.Sure = k.Sure || accepted
	return k, accepted, file
}

// refused is why the guest is not started, and what to type; has says that there is a copy here.
func (m *mirrored) refused(d mirror.Decision, k mirror.Known, has bool) error {
	why, hint := d.Why, "start it on "+k.Node
	if !k.Sure {
		why += ", as " + k.Doubt
		hint = "see to it that " + k.Node + " is up, and that this node reaches it by ssh"
	}
	if has && (d.Accept || !k.Sure) {
		hint += "; to start it here all the same, and lose what was written there since, type " +
			shellword.Line("vmferry", "mirror", "promote", m.guest.Name, "--accept-loss")
	}
	return fmt.Errorf("%s: %s", why, hint)
}

// adopt makes the disks from which the guest is seen to run here the truth, where a move brought it, or it was not
// mirrored before. That it fails costs no more than the mirror, until the next monitor.
func (a *run) adopt(ctx context.Context) {
	m, err := a.mirrored()
	if m == nil || err == nil && !m.isDue(ctx) {
		return
	}
	if ctx, cancel := timely.Within(ctx, 3*a.budget.call); err == nil {
		defer cancel()
		err = m.take(ctx)
	}
	if err != nil {
		a.Log.WithError(err).Error("the guest's disks are not mirrored")
	}
}

// isDue reports whether the truth may be elsewhere by what is noted, or is said to be closed, and the guest runs.
func (m *mirrored) isDue(ctx context.Context) bool {
	own, err := m.own(ctx)
	i, pending, _ := m.pending()
	return err != nil || own == nil || own.Role != mirror.Truth || own.Closed || own.Ran ||
		pending && i.Way == notes.Inward
}

func (m *mirrored) take(ctx context.Context) error {
	own, unlock, err := m.open(ctx)
	if unlock != nil {
		defer unlock()
	}
	if err != nil {
		return err
	}
	var epoch uint64 // of the disks here, where no other node has had them since
	if own != nil && own.Role == mirror.Truth && !own.Closed && !own.Ran {
		epoch = own.Epoch
	}
	if own != nil && !own.Ran { // should this fail, a start knows of it, and the next monitor tries again
		own.Ran = true
		err = timely.Do(ctx, func() error { return m.store.Save(*own) })
	}
	e := m.gather(ctx)
	k := e.weigh(mirror.Manifest{}, m.Node, m.peer)
	last := k.Epoch
	if e.manifest != nil {
		last = max(last, e.manifest.Epoch)
	}
	if epoch <= last {
		epoch = last + 1
		if own != nil {
			epoch = max(epoch, own.Epoch+1)
		}
	}
	switch {
	case err == nil && !k.Sure:
		err = fmt.Errorf("whether another node has a newer copy is not known, as %s", k.Doubt)
	case err == nil:
		err = m.become(ctx, own, epoch)
	}
	if err == nil && m.Mirror.Engine != nil && (own == nil || !own.Arriving && !own.Overlay) { // what is left of a replica goes
		err = timely.Do(ctx, func() error { return m.Mirror.Engine.Recover(ctx, m.uuid) })
	}
	return err
}

// closeMirror has the replica get what a guest wrote last that was seen to run here, and has ended.
func (s *stopper) closeMirror(ctx context.Context) {
	m, err := s.mirrored()
	if m == nil || !s.isNoted() || s.Mirror.Daemon == nil {
		return
	}
	ctx, cancel := s.at(ctx, s.budget.migrate)
	defer cancel()
	if err == nil {
		err = s.Mirror.Daemon(ctx, "close", s.Instance)
	}
	if err != nil {
		s.Log.WithError(err).Warnf("the replica may lack what the guest wrote last: %s will refuse to start the guest "+
			"while this node is up, and otherwise say what it loses", m.peer)
	}
}

// holdMirror ends the round that is under way, and has none begin until release: it would delay a move.
func (a *run) holdMirror(ctx context.Context) (release func()) {
	if len(a.Params.Mirror.Nodes) == 0 || a.Mirror.Daemon == nil {
		return func() {}
	}
	tell := func(ctx context.Context, verb string, limit time.Duration) error {
		ctx, cancel := timely.Within(ctx, limit)
		defer cancel()
		return a.Mirror.Daemon(ctx, verb, a.Instance)
	}
	if err := tell(ctx, "hold", a.budget.call); err != nil {
		a.Log.WithError(err).Info("rounds of the mirror are not held: where its daemon does not run, there are none")
	}
	// The daemon does it by itself after a while.
	return func() { _ = tell(context.WithoutCancel(ctx), "release", answerReserve/2) }
}

// handOver has the replica get all that the guest has, which is about to move. Of a move that an agent which was killed
// has left under way that is done.
func (m *migrator) handOver(ctx context.Context, adopt bool) (bool, error) {
	r, err := m.mirrored()
	if r == nil || err != nil || m.Mirror.HandOver == nil || !strings.EqualFold(r.peer, m.Target) {
		return false, nil
	}
	if own, err := r.own(ctx); adopt && err == nil && own != nil && !own.Handed.IsZero() {
		return true, nil
	}
	return m.Mirror.HandOver(ctx, r.peer, m.guest.Name, r.uuid, m.Log)
}

// leave makes the disks here the replica of a guest that is proven to run at the target. The daemon does the rest of it
// where that is cut short.
func (m *migrator) leave(ctx context.Context) {
	r, err := m.mirrored()
	if r == nil || err != nil || m.Mirror.Engine == nil {
		return
	}
	_, unlock, err := r.open(ctx)
	if unlock != nil {
		defer unlock()
	}
	if err == nil {
		err = timely.Do(ctx, func() error { return m.Mirror.Engine.Leave(ctx, r.uuid) })
	}
	if err != nil {
		m.Log.WithError(err).Warn("the disks that the guest has left are not its replica yet")
	}
}

// settleMirror finds out, before a guest ends that runs here, whether it has come by a move or stayed: once it has
// ended, nobody knows that.
func (s *stopper) settleMirror(ctx context.Context) {
	m, err := s.mirrored()
	if m == nil || err != nil {
		return
	}
	ctx, cancel := timely.Within(ctx, 3*s.budget.call)
	defer cancel()
	own, err := m.own(ctx)
	switch {
	case err != nil || own == nil:
	case own.Arriving:
		s.adopt(ctx)
	case own.Overlay && s.Mirror.Fold != nil:
		err = s.Mirror.Fold(ctx, s.guest.Name, m.uuid)
	}
	if err != nil {
		s.Log.WithError(err).Warn("whether a move of the guest has brought it to another node is not known")
	}
}
