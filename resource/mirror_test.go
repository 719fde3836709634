package resource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// mirrorWorld is node1, with a guest that is mirrored between it and node2 by a Pacemaker with quorum.
type mirrorWorld struct {
	*world
	image  string
	store  mirror.Store
	marks  map[string]string // Pacemaker's
	quorum string
	beside string              // node1 in its part of the cluster
	state  elsewhere.PeerState // of node2
	peer   *mirror.Manifest    // of node2
	silent error               // why node2 does not answer
	hangs  bool                // the storage of the replica
	unfit  error               // why the replica cannot be promoted
	lost   []record.Record
	daemon func(verb string) error
	hook   *test.Hook
}

func newMirrorWorld(t *testing.T, action string, build ...func(*mirrorWorld)) *mirrorWorld {
	w := &mirrorWorld{world: newWorld(t, action), marks: map[string]string{}, quorum: "1\n", beside: " node2", state: elsewhere.PeerFenced,
		silent: errors.New("ssh: connection refused"), daemon: func(string) error { return nil }}
	w.image = filepath.Join(w.dir, "vm1.qcow2")
	w.write("vm1.xml", strings.Replace(guestXML, "</domain>", "<devices><disk type='file' device='disk'>"+
		"<driver name='qemu' type='qcow2'/><source file='"+w.image+"'/><target dev='vda' bus='virtio'/></disk></devices></domain>", 1))
	w.store = mirror.Store{Dir: filepath.Join(w.dir, "mirror")}
	w.program = w.pacemaker
	w.agent.Pacemaker = true
	w.agent.Params.Disks = preflight.DisksCopy
	w.agent.Params.Mirror = param.Mirror{Nodes: []string{"node1", "node2"}, Interval: 10 * time.Second}
	w.agent.Peers = func(context.Context) ([]elsewhere.Peer, error) {
		return []elsewhere.Peer{{Name: "node2", State: w.state}}, nil
	}
	w.agent.Record = func(r record.Record) { w.lost = append(w.lost, r) }
	w.agent.Log, w.hook = test.NewNullLogger()
	w.agent.Mirror = Mirror{
		Store: w.store, Engine: fakeEngine{w},
		Peer: func(_ context.Context, node, guest, uuid string) (*mirror.Manifest, error) {
			w.note("ask " + node)
			if guest != "vm1" || uuid != guestUUID {
				t.Errorf("requested guest %q, UUID %q", guest, uuid)
			}
			return w.peer, w.silent
		},
		Daemon: func(_ context.Context, verb, resource string) error {
			w.note(verb + " " + resource)
			return w.daemon(verb)
		},
	}
	for _, f := range build {
		f(w)
	}
	return w
}

// pacemaker answers as its programs do.
func (w *mirrorWorld) pacemaker(_ context.Context, line string) (string, error) {
	switch words := strings.Fields(line); words[0] {
	case "crm_node":
		if words[1] == "--partition" {
			return "node1" + w.beside + " \n", nil
		}
		return w.quorum, nil
	case "cibadmin":
		text := "<nodes>\n"
		for node, mark := range w.marks {
			text += fmt.Sprintf(`<node id="1" uname="%s"><instance_attributes id="i"><nvpair id="a" name="standby" value="off"/>`+
				`<nvpair id="b" name="vmferry-mirror-res1" value="%s"/></instance_attributes></node>`, node, mark)
		}
		return text + "</nodes>\n", nil
	case "crm_attribute":
		if words[len(words)-2] != "--update" || !slices.Contains(words, "vmferry-mirror-res1") {
			w.t.Errorf("ran %s", line)
		}
		w.marks[words[4]] = words[len(words)-1]
	}
	return "", nil
}

// fakeEngine has the replica's disk in one file.
type fakeEngine struct{ w *mirrorWorld }

func (e fakeEngine) Recover(ctx context.Context, _ string) error {
	if e.w.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	e.w.note("recover")
	return nil
}

func (e fakeEngine) Promote(ctx context.Context, uuid string, epoch uint64, all []mirror.Disk, lost time.Duration,
	tell func(context.Context) error) (err error) {
	defer func() { // a test's kill, which cannot leave this goroutine
		if r := recover(); r != nil {
			err = fmt.Errorf("killed at %v", r)
		}
	}()
	e.w.note(fmt.Sprintf("promote to %d", epoch))
	err = e.w.unfit
	if err == nil {
		err = tell(ctx)
	}
	if err != nil {
		return err
	}
	if !slices.Equal(all, []mirror.Disk{{Target: "vda", Path: e.w.image}}) {
		e.w.t.Errorf("promoted %+v", all)
	}
	m := e.w.own()
	m.Role, m.Point, m.Closed, m.Lost, m.LostAt = mirror.Truth, mirror.Point{Epoch: epoch}, false, lost.Seconds(), time.Now()
	e.w.has(m)
	return os.WriteFile(e.w.image, []byte("replica"), 0o600)
}

func (e fakeEngine) Leave(context.Context, string) error { e.w.note("leave"); return nil }

// own is node1's manifest.
func (w *mirrorWorld) own() mirror.Manifest {
	m, err := w.store.Load(guestUUID)
	if err != nil {
		w.t.Error(err)
	}
	return m
}

func (w *mirrorWorld) has(m mirror.Manifest) {
	if err := w.store.Save(m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *mirrorWorld) manifest(r mirror.Role, at mirror.Point) mirror.Manifest {
	return mirror.Manifest{Schema: mirror.Schema, Guest: "vm1", UUID: guestUUID, Role: r, Point: at, Peer: "node2"}
}

// own1 has node1 keep a manifest, as change makes it.
func own1(r mirror.Role, at mirror.Point, change ...func(*mirror.Manifest)) func(*mirrorWorld) {
	return func(w *mirrorWorld) {
		m := w.manifest(r, at)
		if r != mirror.Truth {
			m.Disks = []mirror.Disk{{Target: "vda", Path: w.image, Size: 1 << 20, Whole: at, At: at, Taken: time.Now().Add(-30 * time.Second),
				Boot: mirror.ThisBoot()}}
		}
		for _, f := range change {
			f(&m)
		}
		w.has(m)
	}
}

// answers has node2 be up and answer.
func answers(m *mirror.Manifest) func(*mirrorWorld) {
	return func(w *mirrorWorld) { w.peer, w.silent, w.state = m, nil, elsewhere.PeerUp }
}

func peerIs(s elsewhere.PeerState) func(*mirrorWorld) { return func(w *mirrorWorld) { w.state = s } }

func marked(node, mark string) func(*mirrorWorld) {
	return func(w *mirrorWorld) { w.marks[node] = mark }
}

func hasImage(w *mirrorWorld) { w.write("vm1.qcow2", "disk") }
func withoutPacemaker(w *mirrorWorld) {
	w.agent.Pacemaker = false
	w.program = func(_ context.Context, line string) (string, error) { w.t.Errorf("ran %s", line); return "", nil }
}

// heartbeat calls node2 dead, and may switch it off.
func heartbeat(fences bool) func(*mirrorWorld) {
	return func(w *mirrorWorld) {
		w.state = elsewhere.PeerUnknown
		w.agent.Mirror.IsDead = func(_ context.Context, node string) (dead, fenced bool) { return node == "node2", fences }
	}
}

func hasGuard(w *mirrorWorld) {
	w.agent.MayRun = func(context.Context, string) error { return nil }
}

func accepts(at string) func(*mirrorWorld) {
	return func(w *mirrorWorld) { w.write("mirror/"+guestUUID+".accept", at+"\n") }
}

func closed(m *mirror.Manifest) { m.Closed = true }

// alone has node1 see no other node in this boot; before it did, where a note says so.
func alone(noted ...string) func(*mirrorWorld) {
	return func(w *mirrorWorld) {
		w.beside = ""
		for _, id := range noted {
			if err := w.notes().Current.Save(id, notes.Current{IsCurrent: true}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func inFuture(m *mirror.Manifest) { m.Disks[0].Taken = time.Now().Add(time.Hour) }

// inBoot has the replica's disks be of a boot.
func inBoot(b mirror.Boot) func(*mirror.Manifest) {
	return func(m *mirror.Manifest) { m.Disks[0].Boot = b }
}

func most(d time.Duration) func(*mirrorWorld) {
	return func(w *mirrorWorld) { w.agent.Params.Mirror.MaxLoss = d }
}

// What a start does by all that can be known. A refusal changes nothing.
func TestMirrorStart(t *testing.T) {
	at := mirror.Point{Epoch: 3, Generation: 9}
	truth3 := &mirror.Manifest{Role: mirror.Truth, Point: at}
	closed3 := &mirror.Manifest{Role: mirror.Truth, Point: at, Closed: true}
	replica3 := &mirror.Manifest{Role: mirror.Replica, Point: at}
	type build []func(*mirrorWorld)
	const start, promote, refuse = "start", "promote", "refuse"
	for name, c := range map[string]struct {
		build  build
		want   string
		epoch  uint64 // of the truth here then
		reason string
		lost   string // as logged
	}{
		"first start":                 {build{hasImage}, start, 1, "", ""},
		"first start without a disk":  {build{}, refuse, 0, "no such file", ""},
		"first start, killed":         {build{hasImage, marked("node1", "1")}, start, 1, "", ""},
		"it was on the other node":    {build{hasImage, marked("node2", "4")}, refuse, 0, "start it on node2", ""},
		"it was on a third":           {build{hasImage, marked("node9", "4")}, refuse, 0, "start it on node9", ""},
		"the other has a replica":     {build{hasImage, answers(replica3)}, refuse, 0, "no replica here: start it on node2", ""},
		"truth":                       {build{hasImage, own1(mirror.Truth, at), marked("node1", "3")}, start, 3, "", ""},
		"truth, and the peer answers": {build{hasImage, own1(mirror.Truth, at), answers(replica3)}, start, 3, "", ""},
		"old truth":                   {build{hasImage, own1(mirror.Truth, at), marked("NODE2", "4")}, refuse, 0, "start it on NODE2", ""},
		"the peer was killed as it told of its promotion": {build{hasImage, own1(mirror.Truth, at), marked("node2", "4"),
			answers(replica3)}, start, 5, "", ""},
		"somebody else told of one": {build{hasImage, own1(mirror.Truth, at), marked("node9", "4"), answers(replica3)},
			refuse, 0, "start it on node9", ""},
		"two truths": {build{hasImage, own1(mirror.Truth, at), answers(truth3)}, refuse, 0, "both of epoch 3", ""},
		"old truth, its winner is lost": {build{hasImage, own1(mirror.Truth, at), marked("node2", "4"), accepts("vmferry-3-9")},
			start, 5, "", ""},
		"old truth, its winner is up": {build{hasImage, own1(mirror.Truth, at), answers(&mirror.Manifest{Role: mirror.Truth,
			Point: mirror.Point{Epoch: 4}}), accepts("vmferry-3-9")}, refuse, 0, "node2 has epoch 4: start it on node2", ""},
		"alone since the boot, truth": {build{hasImage, own1(mirror.Truth, at), marked("node1", "3"), alone()}, refuse, 0,
			"vmferry mirror promote vm1 --accept-loss", ""},
		"alone since the boot, truth, accepted": {build{hasImage, own1(mirror.Truth, at), marked("node1", "3"), alone(),
			accepts("vmferry-3-9")}, start, 3, "", ""},
		"alone since the boot, half a promotion, accepted": {build{own1(mirror.Promoting, at), alone(), accepts("vmferry-3-9")},
			promote, 3, "", "0 s"},
		"alone, and had been a truth":       {build{hasImage, own1(mirror.Truth, at), alone("res1")}, start, 3, "", ""},
		"alone, and had seen others":        {build{hasImage, own1(mirror.Truth, at), alone(notes.Cluster)}, start, 3, "", ""},
		"alone, and another guest was here": {build{hasImage, own1(mirror.Truth, at), alone("res2")}, refuse, 0, "is not known", ""},
		"alone, and the peer answers":       {build{hasImage, own1(mirror.Truth, at), alone(), answers(replica3)}, start, 3, "", ""},
		"alone, and a round has come":       {build{own1(mirror.Replica, at, inBoot(mirror.ThisBoot())), alone()}, promote, 4, "", "30 s"},
		"alone, and a round had come before": {build{own1(mirror.Replica, at, inBoot(mirror.Boot{ID: "another"})), alone()},
			refuse, 0, "is not known", ""},
		"alone, first start": {build{hasImage, alone()}, refuse, 0, "is not known", ""},
		"no quorum": {build{hasImage, own1(mirror.Truth, at), func(w *mirrorWorld) { w.quorum = "0\n" }},
			refuse, 0, "is not known", ""},
		"no quorum, and the peer answers": {build{hasImage, own1(mirror.Truth, at), answers(replica3),
			func(w *mirrorWorld) { w.quorum = "0\n" }}, start, 3, "", ""},
		"no quorum, a replica of a dead node": {build{own1(mirror.Replica, at), func(w *mirrorWorld) { w.quorum = "0\n" }},
			refuse, 0, "is not known", ""},
		"a mark that nobody can read": {build{hasImage, own1(mirror.Truth, at), marked("node2", "7-1")}, refuse, 0, "is not known", ""},
		"replica":                     {build{own1(mirror.Replica, at), marked("node2", "3")}, promote, 4, "", "30 s"},
		"replica, killed when marked": {build{own1(mirror.Replica, at), marked("node1", "4")}, promote, 4, "", "30 s"},
		"replica of an older epoch":   {build{own1(mirror.Replica, at), marked("node2", "4")}, refuse, 0, "start it on node2", ""},
		"half a replica": {build{own1(mirror.Replica, at, func(m *mirror.Manifest) { m.Disks[0].Whole = mirror.Point{} })},
			refuse, 0, "not whole", ""},
		"half a promotion": {build{own1(mirror.Promoting, at, func(m *mirror.Manifest) { m.Lost = 12.2 })}, promote, 3, "", "13 s"},
		"replica of another boot": {build{own1(mirror.Replica, at, inBoot(mirror.Boot{ID: "another"}))}, promote, 4, "",
			"at most 30 s, " + mirror.ByClock},
		"replica from the future": {build{own1(mirror.Replica, at, inBoot(mirror.Boot{ID: "another"}), inFuture)}, refuse, 0,
			"is not known", ""},
		"replica from the future, accepted": {build{own1(mirror.Replica, at, inBoot(mirror.Boot{ID: "another"}), inFuture),
			accepts("vmferry-3-9")}, promote, 4, "", "not known"},
		"old replica": {build{own1(mirror.Replica, at), most(20 * time.Second)}, refuse, 0,
			"vmferry mirror promote vm1 --accept-loss", ""},
		"old replica, accepted": {build{own1(mirror.Replica, at), most(20 * time.Second), accepts("vmferry-3-9")},
			promote, 4, "", "30 s"},
		"old replica, another one was accepted": {build{own1(mirror.Replica, at), most(20 * time.Second),
			accepts("vmferry-3-8")}, refuse, 0, "--accept-loss", ""},
		"closed": {build{own1(mirror.Replica, at, closed), most(time.Second), marked("node2", "3")},
			promote, 4, "", "0 s, closed at 1999-12-31T23:59:30Z"},
		"closed, and started since": {build{own1(mirror.Replica, at, closed), marked("node2", "4")},
			refuse, 0, "--accept-loss", ""},
		"closed, as the peer says":          {build{own1(mirror.Replica, at, closed), answers(closed3)}, promote, 4, "", "0 s, closed at 1999-12-31T23:59:30Z"},
		"the peer is up and has more":       {build{own1(mirror.Replica, at), answers(truth3)}, refuse, 0, "node2 is up", ""},
		"the peer is up and says nothing":   {build{own1(mirror.Replica, at), peerIs(elsewhere.PeerUp)}, refuse, 0, "--accept-loss", ""},
		"nobody knows of the silent peer":   {build{own1(mirror.Replica, at), peerIs(elsewhere.PeerUnknown)}, refuse, 0, "--accept-loss", ""},
		"the silent peer left":              {build{own1(mirror.Replica, at), peerIs(elsewhere.PeerDown)}, refuse, 0, "not proven to be off", ""},
		"closed, the peer is up and silent": {build{own1(mirror.Replica, at, closed), marked("node2", "3"), peerIs(elsewhere.PeerUp)}, promote, 4, "", "0 s, closed at 1999-12-31T23:59:30Z"},

		"without Pacemaker":                      {build{withoutPacemaker, hasImage, answers(nil)}, start, 1, "", ""},
		"without Pacemaker, silent":              {build{withoutPacemaker, hasImage, peerIs(elsewhere.PeerUnknown)}, refuse, 0, "reaches it by ssh", ""},
		"without Pacemaker, dead":                {build{withoutPacemaker, hasImage, peerIs(elsewhere.PeerFenced)}, refuse, 0, "is not known", ""},
		"without Pacemaker, replica of the dead": {build{withoutPacemaker, own1(mirror.Replica, at), peerIs(elsewhere.PeerFenced)}, promote, 4, "", "30 s"},
		"Heartbeat, replica of the dead":         {build{withoutPacemaker, own1(mirror.Replica, at), heartbeat(true)}, promote, 4, "", "30 s"},
		"Heartbeat, nobody fences the dead": {build{withoutPacemaker, own1(mirror.Replica, at), heartbeat(false)}, refuse, 0,
			"neither STONITH nor a guard", ""},
		"Heartbeat, accepted": {build{withoutPacemaker, own1(mirror.Replica, at), heartbeat(false), accepts("vmferry-3-9")},
			promote, 4, "", "30 s"},
		"Heartbeat, the guard ends guests": {build{withoutPacemaker, own1(mirror.Replica, at), heartbeat(false), hasGuard},
			promote, 4, "", "30 s"},
		"Heartbeat, the dead answers": {build{withoutPacemaker, own1(mirror.Replica, at), heartbeat(true), hasGuard,
			func(w *mirrorWorld) { w.peer, w.silent = truth3, nil }}, refuse, 0, "node2 is up", ""},
		"without Pacemaker, half a promotion":    {build{withoutPacemaker, own1(mirror.Promoting, at), peerIs(elsewhere.PeerFenced)}, promote, 3, "", "0 s"},
		"without Pacemaker, replica, silent":     {build{withoutPacemaker, own1(mirror.Replica, at), peerIs(elsewhere.PeerUnknown)}, refuse, 0, "--accept-loss", ""},
		"without Pacemaker, truth beside a dead": {build{withoutPacemaker, hasImage, own1(mirror.Truth, at), peerIs(elsewhere.PeerFenced)}, refuse, 0, "--accept-loss", ""},
		"without Pacemaker, truth, accepted": {build{withoutPacemaker, hasImage, own1(mirror.Truth, at), peerIs(elsewhere.PeerFenced),
			accepts("vmferry-3-9")}, start, 3, "", ""},
		"without Pacemaker, truth beside a dead that had answered": {build{withoutPacemaker, hasImage, own1(mirror.Truth, at),
			peerIs(elsewhere.PeerFenced), alone("res1")}, start, 3, "", ""},
		"without Pacemaker, closed and dead": {build{withoutPacemaker, own1(mirror.Replica, at, closed), peerIs(elsewhere.PeerFenced)},
			promote, 4, "", "30 s"},

		"a third node": {build{hasImage, func(w *mirrorWorld) { w.agent.Params.Mirror.Nodes[0] = "node7" }}, refuse, 0, "does not name this node", ""},
		"no UUID": {build{hasImage, func(w *mirrorWorld) {
			w.write("vm1.xml", "<domain type='kvm'><name>vm1</name></domain>")
		}}, refuse, 0, "uuidgen", ""},
		"a manifest that cannot be read": {build{hasImage, func(w *mirrorWorld) {
			w.has(w.manifest(mirror.Truth, at))
			w.write("mirror/"+guestUUID+".json", "{")
		}}, refuse, 0, "read a manifest", ""},
		"the storage hangs": {build{own1(mirror.Replica, at), func(w *mirrorWorld) { w.hangs = true }}, refuse, 0, "cannot start", ""},
		"the file of an acceptance stays": {build{own1(mirror.Replica, at), most(time.Second), func(w *mirrorWorld) {
			w.write("other.accept", "vmferry-3-9\n")
			if err := os.Symlink(filepath.Join(w.dir, "other.accept"), filepath.Join(w.store.Dir, guestUUID+".accept")); err != nil {
				w.t.Fatal(err)
			}
		}}, promote, 4, "", "30 s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newMirrorWorld(t, "start", c.build...)
				before := fmt.Sprint(w.marks)
				err, took := w.run("start")
				code := ocf.Success
				if c.want == refuse {
					code = ocf.Generic
				}
				checkExit(t, err, code, c.reason)
				if c.want == refuse {
					if after := fmt.Sprint(w.marks); after != before || w.there || took >= defaults["start"] {
						t.Errorf("marks %s became %s, started %v in %v", before, after, w.there, took)
					}
				} else if m := w.own(); m.Role != mirror.Truth || m.Epoch != c.epoch || m.Closed || m.Peer != "node2" {
					t.Errorf("%+v, want epoch %d", m, c.epoch)
				}
				want := strconv.FormatUint(c.epoch, 10)
				if c.want != refuse && w.agent.Pacemaker && w.marks["node1"] != want {
					t.Errorf("marks %v, want %s", w.marks, want)
				}
				promoted := slices.ContainsFunc(w.calls, func(s string) bool { return strings.HasPrefix(s, "promote") })
				if created := slices.Contains(w.calls, "create"); promoted != (c.want == promote) || created != (c.want != refuse) {
					t.Errorf("did %q", w.calls)
				}
				w.logged(t, c.lost)
				left, _ := filepath.Glob(filepath.Join(w.store.Dir, "*.accept"))
				if used := c.want != refuse; used && len(left) > 0 {
					t.Errorf("left %q", left)
				}
			})
		})
	}
}

// logged wants the log and the record of what was lost; "" for nothing.
func (w *mirrorWorld) logged(t *testing.T, lost string) {
	t.Helper()
	text := ""
	for _, e := range w.hook.AllEntries() {
		if strings.HasPrefix(e.Message, "started from the replica: lost ") {
			text += e.Message
		}
	}
	if lost == "" && text != "" || !strings.HasSuffix(text, lost) || (len(w.lost) == 1) != (lost != "") {
		t.Errorf("logged %q, recorded %d, want %q", text, len(w.lost), lost)
	}
	for _, r := range w.lost {
		if r.Outcome != record.Restored || (r.LostMS == nil) != strings.HasSuffix(lost, "not known") || r.To != "node1" ||
			len(r.Notes) != 1 || !strings.HasSuffix(r.Notes[0], lost) {
			t.Errorf("recorded %+v", r)
		}
	}
}

// A promotion that is refused keeps the other node from nothing.
func TestRefusedPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMirrorWorld(t, "start", own1(mirror.Replica, mirror.Point{Epoch: 3, Generation: 9}), marked("node2", "3"))
		w.unfit = errors.New("an older image would be lost")
		err, _ := w.run("start")
		checkExit(t, err, ocf.Generic, "older image")
		if m := w.own(); m.Role != mirror.Replica || m.Epoch != 3 || w.marks["node1"] != "" {
			t.Errorf("%+v, marks %v", m, w.marks)
		}
	})
}

// Disks of different instants are no copy that the guest's databases may trust.
func TestDifferentInstants(t *testing.T) {
	at := mirror.Point{Epoch: 3, Generation: 9}
	for _, apart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newMirrorWorld(t, "start", own1(mirror.Replica, at, func(m *mirror.Manifest) {
				second := m.Disks[0]
				second.Target, second.Path = "vdb", "/img/b"
				if apart {
					second.At.Generation, second.Taken = 2, second.Taken.Add(-time.Hour)
				}
				m.Disks = append(m.Disks, second)
			}))
			err, _ := w.run("start")
			checkExit(t, err, ocf.Success, "")
			const want = "its disks are not of one instant: vdb is 3600 s older than vda"
			if slices.ContainsFunc(w.hook.AllEntries(), func(e *logrus.Entry) bool { return e.Message == want }) != apart {
				t.Errorf("logged %v", w.hook.AllEntries())
			}
		})
	}
}

// On a node that cannot run the guest nothing is promoted: the other node, when it is back, starts its newer disks.
func TestUnfitNode(t *testing.T) {
	at := mirror.Point{Epoch: 3, Generation: 9}
	for reason, unfit := range map[string]func(*mirrorWorld){
		"MiB of memory free": func(w *mirrorWorld) {
			text, err := os.ReadFile(filepath.Join(w.dir, "vm1.xml"))
			if err != nil {
				w.t.Fatal(err)
			}
			w.write("vm1.xml", strings.Replace(string(text), "</domain>", "<memory unit='MiB'>512</memory></domain>", 1))
			w.agent.Params.Memory = preflight.MemoryRefuse
		},
		"lease":             func(w *mirrorWorld) { w.agent.MayRun = onceMayRun() },
		"being handed over": func(w *mirrorWorld) { leave(w.t, w.image, (*disks.Transfer).HandOver, (*disks.Transfer).Close) },
	} {
		synctest.Test(t, func(t *testing.T) {
			own := own1(mirror.Replica, at)
			if reason == "being handed over" {
				own = own1(mirror.Truth, at, closed)
			}
			w := newMirrorWorld(t, "start", hasImage, own, unfit)
			err, _ := w.run("start")
			checkExit(t, err, ocf.Generic, reason)
			if m := w.own(); m.Epoch != 3 || len(w.marks) > 0 || slices.Contains(w.calls, "promote to 4") {
				t.Errorf("%s: %+v, marks %v, did %q", reason, m, w.marks, w.calls)
			}
		})
	}
}

// onceMayRun is a guard that lets guests run when it is asked first, and not when the guest is about to start.
func onceMayRun() func(context.Context, string) error {
	asked := 0
	return func(context.Context, string) error {
		if asked++; asked > 1 {
			return errors.New("the lease has ended")
		}
		return nil
	}
}

// A truth that was found to be one is restarted while the other node is away, until this node is booted.
func TestCurrentForABoot(t *testing.T) {
	for _, own := range []mirror.Role{mirror.Truth, mirror.Replica} {
		synctest.Test(t, func(t *testing.T) {
			w := newMirrorWorld(t, "start", hasImage, own1(own, mirror.Point{Epoch: 3, Generation: 9}, func(m *mirror.Manifest) {
				if len(m.Disks) > 0 {
					m.Disks[0].Boot = mirror.ThisBoot()
				}
			}), marked("node1", "3"))
			if w.beside = ""; own == mirror.Truth {
				w.peer, w.silent, w.state = &mirror.Manifest{Role: mirror.Replica, Point: mirror.Point{Epoch: 3}}, nil, elsewhere.PeerUp
			}
			err, _ := w.run("start")
			checkExit(t, err, ocf.Success, "")
			w.gone()
			w.peer, w.silent, w.state = nil, errors.New("ssh: no route to host"), elsewhere.PeerFenced
			err, _ = w.run("start")
			checkExit(t, err, ocf.Success, "")
			w.gone()
			if err := os.RemoveAll(w.agent.RunDir); err != nil {
				t.Fatal(err)
			}
			err, _ = w.run("start")
			checkExit(t, err, ocf.Generic, "is not known")
		})
	}
}

// The order in which it is done: the cluster knows of a new epoch before any file is renamed, and a truth is not called
// closed any more before the guest starts.
func TestMirrorOrder(t *testing.T) {
	const look = "crm_node --quorum, cibadmin --query --xpath //nodes, crm_node --partition, "
	const update = "crm_attribute --type nodes --node node1 --name vmferry-mirror-res1 --update "
	for want, build := range map[string][]func(*mirrorWorld){
		look + "recover, promote to 4, " + update + "4, create": {own1(mirror.Replica, mirror.Point{Epoch: 3, Generation: 9})},
		look + "ask node2, recover, " + update + "3, create": {hasImage, peerIs(elsewhere.PeerDown),
			own1(mirror.Truth, mirror.Point{Epoch: 3, Generation: 9})},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newMirrorWorld(t, "start", build...)
			w.create = func(context.Context, string) error {
				if m := w.own(); m.Closed || m.Role != mirror.Truth {
					t.Errorf("started with %+v", m)
				}
				w.boot()
				return nil
			}
			err, _ := w.run("start")
			checkExit(t, err, ocf.Success, "")
			if got := strings.Join(w.calls, ", "); got != want {
				t.Errorf("did %s, want %s", got, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newMirrorWorld(t, "start", hasImage, own1(mirror.Truth, mirror.Point{Epoch: 3, Generation: 9}, closed),
			marked("node1", "3"))
		w.create = func(context.Context, string) error {
			if m := w.own(); m.Closed || m.Epoch != 4 || w.marks["node1"] != "4" {
				t.Errorf("started with %+v, marks %v", m, w.marks)
			}
			w.boot()
			return nil
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
	})
}

// A close before the first round of a new epoch sends what the manifest names, NVRAM and TPM too.
func TestMirrorNamesStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMirrorWorld(t, "start", hasImage, own1(mirror.Truth, mirror.Point{Epoch: 3, Generation: 9}, closed,
			func(m *mirror.Manifest) {
				m.Disks = []mirror.Disk{{Target: "vda", Path: "/x/vm1.qcow2", Size: 1 << 20}}
				m.States = []mirror.State{{Path: "/var/lib/libvirt/qemu/nvram/vm1_VARS.fd", Content: []byte("old")}}
			}))
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
		if m := w.own(); m.Epoch != 4 || len(m.Disks) != 1 || len(m.States) != 1 || len(m.States[0].Content) > 0 {
			t.Errorf("the truth has the disks %+v and the files %+v", m.Disks, m.States)
		}
	})
}

// Killed at any step, or where a program or the engine fails, a start can be made again, and loses nothing more.
func TestMirrorKilled(t *testing.T) {
	at := mirror.Point{Epoch: 3, Generation: 9}
	for name, build := range map[string][]func(*mirrorWorld){
		"first": {hasImage}, "truth": {hasImage, own1(mirror.Truth, at)}, "replica": {own1(mirror.Replica, at)},
	} {
		for _, step := range append(Steps("start"), "crm_node", "cibadmin", "crm_attribute") {
			t.Run(name+" at "+step, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newMirrorWorld(t, "start", build...)
					w.agent.Step = func(s string) {
						if s == step {
							panic(step)
						}
					}
					w.program = func(ctx context.Context, line string) (string, error) {
						out, err := w.pacemaker(ctx, line)
						if strings.HasPrefix(line, step) {
							panic(step)
						}
						return out, err
					}
					func() {
						defer func() { _ = recover() }()
						_, _ = w.run("start")
					}()
					w.agent.Step, w.program = nil, w.pacemaker
					err, _ := w.run("start")
					checkExit(t, err, ocf.Success, "")
					want := map[string]uint64{"first": 1, "truth": 3, "replica": 4}[name]
					if m := w.own(); !w.there || m.Role != mirror.Truth || m.Epoch != want {
						t.Errorf("%+v, runs %v", m, w.there)
					}
				})
			})
		}
	}
	for _, program := range []string{"crm_node", "cibadmin", "crm_attribute"} {
		synctest.Test(t, func(t *testing.T) {
			w := newMirrorWorld(t, "start", own1(mirror.Replica, at))
			w.program = func(ctx context.Context, line string) (string, error) {
				if strings.HasPrefix(line, program) {
					return fails("not connected")
				}
				return w.pacemaker(ctx, line)
			}
			err, _ := w.run("start")
			checkExit(t, err, ocf.Generic, "")
			if m := w.own(); m.Role != mirror.Replica || w.there {
				t.Errorf("%s fails: %+v, runs %v", program, m, w.there)
			}
		})
	}
}

// What a move that was cut short has left beside the disk says nothing of the replica that takes its place.
func TestPromotionForgetsMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMirrorWorld(t, "start", hasImage, own1(mirror.Replica, mirror.Point{Epoch: 3, Generation: 9}))
		leave(t, w.image, (*disks.Transfer).HandOver, (*disks.Transfer).Close)
		w.write("vm1.qcow2"+disks.ArrivingSuffix, "")
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
	})
}

// A guest that is seen to run here has the truth, by a move, or as mirror is new. A monitor without programs leaves
// that to one that has them.
func TestMirrorArrival(t *testing.T) {
	at, later := mirror.Point{Epoch: 3, Generation: 9}, mirror.Point{Epoch: 4, Generation: 2}
	inward := func(w *mirrorWorld) { pendingTo(notes.Inward, "node2")(w.world) }
	type build []func(*mirrorWorld)
	for name, c := range map[string]struct {
		action string
		build  build
		epoch  uint64
	}{
		"by a move to a replica":      {"migrate_from", build{own1(mirror.Replica, at), marked("node2", "3")}, 4},
		"by a move to an old truth":   {"migrate_from", build{own1(mirror.Truth, at), marked("node2", "4")}, 5},
		"again":                       {"migrate_from", build{own1(mirror.Truth, later), marked("node2", "3")}, 4},
		"by a move to nothing":        {"migrate_from", build{marked("node2", "3")}, 4},
		"by a start that had fetched": {"start", build{own1(mirror.Truth, at), marked("node2", "4"), inward}, 5},
		"a monitor that comes first":  {"monitor", build{own1(mirror.Replica, at), marked("node2", "3")}, 4},
		"mirror is new":               {"monitor", nil, 1},
		"a truth":                     {"monitor", build{own1(mirror.Truth, at)}, 3},
		"a closed truth":              {"monitor", build{own1(mirror.Truth, at, closed)}, 4},
		"without Pacemaker": {"migrate_from", build{withoutPacemaker, own1(mirror.Replica, at),
			answers(&mirror.Manifest{Role: mirror.Truth, Point: later})}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newMirrorWorld(t, c.action, append(c.build, hasImage)...)
				w.is(libvirt.Running, "migrated")
				w.agent.Source = "node2"
				if c.action == "monitor" && c.epoch != at.Epoch {
					w.agent.Command = nil
					if err, _ := w.run("monitor"); !errors.Is(err, ErrMore) {
						t.Errorf("without programs: %v", err)
					}
					w.agent.Command = w.command
				}
				err, _ := w.run(c.action)
				checkExit(t, err, ocf.Success, "")
				m := w.own()
				if m.Role != mirror.Truth || m.Epoch != c.epoch || m.Peer != "node2" {
					t.Errorf("%+v, want epoch %d", m, c.epoch)
				}
				for _, d := range m.Disks {
					if d.At != (mirror.Point{}) || d.Whole != (mirror.Point{}) {
						t.Errorf("a truth has the replica %+v", d)
					}
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // an arrival counts as one, and the next monitor tries again
		w := newMirrorWorld(t, "migrate_from", own1(mirror.Truth, at), marked("node2", "4"), hasImage)
		w.is(libvirt.Running, "migrated")
		w.quorum = "0"
		err, _ := w.run("migrate_from")
		checkExit(t, err, ocf.Success, "")
		if m := w.own(); !m.Ran {
			t.Errorf("%+v", m)
		}
		w.quorum = "1"
		err, _ = w.run("monitor")
		checkExit(t, err, ocf.Success, "")
		if m := w.own(); m.Role != mirror.Truth || m.Epoch != 5 || m.Ran {
			t.Errorf("%+v", m)
		}
	})
}

// A move has brought the guest, and for the moment nobody knew who had the truth; then it ended. Its disk here is the
// newest there is: no replica takes its place, and it can be started from.
func TestRanHere(t *testing.T) {
	at := mirror.Point{Epoch: 3, Generation: 9}
	for _, role := range []mirror.Role{mirror.Replica, mirror.Truth} {
		synctest.Test(t, func(t *testing.T) {
			w := newMirrorWorld(t, "migrate_from", own1(role, at), marked("node2", "4"), hasImage)
			w.is(libvirt.Running, "migrated")
			w.agent.Source, w.quorum = "node2", "0"
			err, _ := w.run("migrate_from")
			checkExit(t, err, ocf.Success, "")
			w.gone()
			w.calls, w.quorum = nil, "1"
			err, _ = w.run("start")
			checkExit(t, err, ocf.Generic, "vmferry mirror promote vm1 --accept-loss")
			accepts("vmferry-3-9")(w)
			err, _ = w.run("start")
			checkExit(t, err, ocf.Success, "")
			if m := w.own(); m.Role != mirror.Truth || m.Epoch != 5 || m.Ran || slices.Contains(w.calls, "promote to 5") {
				t.Errorf("%+v, did %q", m, w.calls)
			}
		})
	}
}

// A stop has the replica get the rest, within its time; that it fails is no failure of the stop.
func TestMirrorStop(t *testing.T) {
	at := mirror.Point{Epoch: 3, Generation: 9}
	for name, c := range map[string]struct {
		daemon func(w *mirrorWorld) error
		gone   bool // the guest has ended before
	}{
		"closed":          {func(*mirrorWorld) error { return nil }, false},
		"ended by itself": {func(*mirrorWorld) error { return nil }, true},
		"not closed":      {func(*mirrorWorld) error { return errors.New("ssh: no route to host") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newMirrorWorld(t, "stop", own1(mirror.Truth, at), marked("node1", "3"), hasImage)
				w.noted()
				if !c.gone {
					w.boot()
				}
				w.daemon = func(verb string) error {
					if w.there || verb != "close" || !w.held() {
						t.Errorf("%s while the guest runs: %v", verb, w.there)
					}
					return c.daemon(w)
				}
				err, _ := w.run("stop")
				checkExit(t, err, ocf.Success, "")
				if w.held() || !slices.Contains(w.calls, "close res1") {
					t.Errorf("did %q", w.calls)
				}
				w.calls = nil
				err, _ = w.run("stop") // it was not seen to run here since
				checkExit(t, err, ocf.Success, "")
				w.did()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newMirrorWorld(t, "stop", own1(mirror.Truth, at), hasImage)
		w.noted()
		w.boot()
		w.agent.Mirror.Daemon = func(ctx context.Context, _, _ string) error { return blocked(ctx) }
		err, took := w.run("stop")
		checkExit(t, err, ocf.Success, "")
		if took >= defaults["stop"]-time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A guest moves by its replica where that is possible. What it leaves is the replica then.
func TestMirrorHandOver(t *testing.T) {
	for name, c := range map[string]struct {
		handed bool
		err    error
		target string
		want   []string
		inc    bool
	}{
		"by the replica":         {true, nil, "node2", []string{"hold res1", "hand over to node2", "migrate", "leave", "release res1"}, true},
		"not this time":          {false, nil, "node2", []string{"hold res1", "hand over to node2", "migrate", "leave", "release res1"}, false},
		"it has an overlay left": {false, errors.New("no"), "node2", []string{"hold res1", "hand over to node2", "release res1"}, false},
		"to a third node":        {true, nil, "node3", []string{"hold res1", "migrate", "leave", "release res1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newMirrorWorld(t, "migrate_to", own1(mirror.Truth, mirror.Point{Epoch: 3}), hasImage)
				w.boot()
				w.agent.Target = c.target
				w.target = func(context.Context) (libvirt.Status, error) {
					return libvirt.Status{State: libvirt.Running, UUID: guestUUID}, nil
				}
				w.agent.Mirror.HandOver = func(_ context.Context, node, guest, uuid string, _ logrus.FieldLogger) (bool, error) {
					if guest != "vm1" || uuid != guestUUID {
						t.Errorf("handed over %q, %q", guest, uuid)
					}
					w.note("hand over to " + node)
					return c.handed, c.err
				}
				moves := w.migrate
				w.migrate = func(ctx context.Context, m param.Move) error {
					if m.Options.CopyInc != c.inc || (m.Disks == preflight.DisksShared) != c.inc {
						t.Errorf("moved with %+v, disks %q", m.Options, m.Disks)
					}
					return moves(ctx, m)
				}
				err, _ := w.run("migrate_to")
				if (err != nil) != (c.err != nil) {
					t.Errorf("%v", err)
				}
				w.did(c.want...)
			})
		})
	}
}

// Where a guest that was on its way was last is found out before it ends, and before what came with it is removed.
func TestMirrorArriving(t *testing.T) {
	at := mirror.Point{Epoch: 3, Generation: 9}
	arrives := func(m *mirror.Manifest) { m.Arriving = true }
	overlaid := func(m *mirror.Manifest) { m.Overlay = true }
	gone := &mirror.Manifest{Role: mirror.Replica, Point: mirror.Point{Epoch: 4}}
	undecided := &mirror.Manifest{Role: mirror.Truth, Point: at, Handed: time.Now()}
	for name, c := range map[string]struct {
		action   string
		runs     bool
		build    []func(*mirrorWorld)
		want     string // call
		not      string
		truth    bool
		overlaid bool
		fails    bool
	}{
		"it comes":                         {"migrate_from", true, []func(*mirrorWorld){own1(mirror.Replica, at, arrives)}, "", "recover", true, true, false},
		"it has come, and ends":            {"stop", true, []func(*mirrorWorld){own1(mirror.Replica, at, arrives)}, "shutdown", "recover", true, true, false},
		"it has stayed, and ends":          {"stop", true, []func(*mirrorWorld){own1(mirror.Truth, at, overlaid)}, "fold", "", true, true, false},
		"it has ended; it had come":        {"start", false, []func(*mirrorWorld){own1(mirror.Replica, at, arrives), answers(gone)}, "recover", "promote to 4", true, true, false},
		"it has ended; nobody knows where": {"start", false, []func(*mirrorWorld){own1(mirror.Replica, at, arrives), answers(undecided)}, "", "recover", false, false, true},
		"it has ended; the peer is silent": {"start", false, []func(*mirrorWorld){own1(mirror.Replica, at, arrives), peerIs(elsewhere.PeerUp)}, "", "recover", false, false, true},
		"it has ended; the peer is dead":   {"start", false, []func(*mirrorWorld){own1(mirror.Replica, at, arrives)}, "recover", "", true, false, false},
		"it is adopted again": {"migrate_from", true, []func(*mirrorWorld){own1(mirror.Truth, at, overlaid), marked("node2", "3")},
			"", "recover", true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newMirrorWorld(t, c.action, append(c.build, hasImage)...)
				w.agent.Mirror.Fold = func(context.Context, string, string) error { w.note("fold"); return nil }
				w.agent.Source = "node2"
				if c.runs {
					w.is(libvirt.Running, "migrated")
				}
				err, _ := w.run(c.action)
				if (err != nil) != c.fails {
					t.Errorf("%v", err)
				}
				m := w.own()
				if (m.Role == mirror.Truth) != c.truth || m.Overlay != c.overlaid || c.want != "" && !slices.Contains(w.calls, c.want) ||
					slices.Contains(w.calls, c.not) {
					t.Errorf("did %q, %+v", w.calls, m)
				}
				if c.fails && !m.Arriving {
					t.Error("what came with the guest is gone")
				}
			})
		})
	}
}

// A move has no round beside it.
func TestMirrorHold(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newMirrorWorld(t, "migrate_to", own1(mirror.Truth, mirror.Point{Epoch: 3}), hasImage)
			w.boot()
			w.target = func(context.Context) (libvirt.Status, error) {
				return libvirt.Status{State: libvirt.Running, UUID: guestUUID}, nil
			}
			if fails {
				w.daemon = func(string) error { return errors.New("nobody listens") }
			}
			err, _ := w.run("migrate_to")
			checkExit(t, err, ocf.Success, "")
			w.did("hold res1", "migrate", "leave", "release res1")
		})
	}
}

func TestParseEpochs(t *testing.T) {
	pair := func(name, value string) string {
		return `<nodes><node uname="a"><instance_attributes><nvpair name="` + name + `" value="` + value +
			`"/></instance_attributes></node></nodes>`
	}
	for text, want := range map[string]int{
		"<nodes/>": 0, "": -1, "<nodes>": -1, "<xpath-query/>": -1, `<nodes><node uname="a"/></nodes>`: 0,
		pair("x", "y"): 0, pair("m", "7"): 1, pair("m", "7-1"): -1, pair("m", "-1"): -1, pair("m", "99999999999999999"): -1,
	} {
		if all, err := parseEpochs(text, "m"); (err != nil) != (want < 0) || err == nil && (len(all) != want || all == nil) {
			t.Errorf("%s: %v, %v", text, all, err)
		}
	}
}

func FuzzParseEpochs(f *testing.F) {
	f.Add(`<nodes><node uname="a"><instance_attributes><nvpair name="vmferry-mirror-res1" value="7"/></instance_attributes></node></nodes>`)
	f.Fuzz(func(t *testing.T, text string) {
		if all, err := parseEpochs(text, "vmferry-mirror-res1"); (err == nil) != (all != nil) {
			t.Errorf("%v, %v", all, err)
		}
	})
}

// A replica's list of disks is what the other node has sent: the truth does not take over paths that are not the guest's,
// as it renames its disks when it becomes a replica.
func TestArrivalForeignDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := mirror.Point{Epoch: 3, Generation: 9}
		w := newMirrorWorld(t, "migrate_from", own1(mirror.Replica, at, func(m *mirror.Manifest) { m.Disks[0].Path = "/etc/passwd" }),
			marked("node2", "3"), hasImage)
		w.is(libvirt.Running, "migrated")
		w.agent.Source = "node2"
		err, _ := w.run("migrate_from")
		checkExit(t, err, ocf.Success, "")
		for _, d := range w.own().Disks {
			if d.Path != w.image {
				t.Errorf("the truth has disk %q", d.Path)
			}
		}
	})
}

// The other node's manifest names the guest that the states belong to: another guest's NVRAM is not written.
func TestPromoteOtherGuestsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMirrorWorld(t, "start", own1(mirror.Replica, mirror.Point{Epoch: 3, Generation: 9},
			func(m *mirror.Manifest) { m.Guest = "other" }), marked("node2", "3"))
		if err, _ := w.run("start"); err == nil {
			t.Error("the replica of another guest was promoted")
		}
	})
}
