package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/mirrored"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/mirror"
)

// TestLabMirror runs its parts on a lab of the shape mirror: two nodes that share no disk.
func TestLabMirror(t *testing.T) {
	parts := []part{{"mirror crash and return", true, testMirrorCrash}}
	if shareOf(t) == (share{}) { // an emulated database takes minutes to come up
		parts = append(parts, part{"mirror cut", false, testMirrorCut},
			part{"mirror drain killed", false, testMirrorDrainKilled}, part{"mirror drain", true, testMirrorDrain},
			part{"mirror crash of a database", true, testMirrorDatabase}, part{"mirror demo", true, testMirrorDemo})
	}
	newBench(t).walk(t, []string{"--shape", "mirror"}, parts)
}

// testMirrorDemo is what make demo shows of the mirror: it must hold, and the page must say who had which copy.
func testMirrorDemo(t *testing.T, b bench) {
	said := map[string][]string{
		report.MirrorCrash: {"Pacemaker wants node1 fenced", "has the truth, epoch 2", "started from the replica: lost at most",
			"record: restored from a replica of"},
		report.MirrorReturn: {"booting", "has put its image aside", "has the replica, epoch 2"},
		report.MirrorDrain:  {"standby", "has the truth, epoch", "has the replica, epoch", "the replica is whole"},
	}
	scenes := b.demoNamed(t, "mirror")
	if len(scenes) != 4 {
		t.Fatalf("%d scenarios ran, want 4", len(scenes))
	}
	for _, s := range scenes {
		checkScenario(t, s)
		if s.MaxRunningCopies > 1 {
			t.Errorf("%s: %d copies ran at once", s.Name, s.MaxRunningCopies)
		}
		if l := s.Ledger; l == nil || l.Acked == 0 || s.Name == report.MirrorCrash && (l.SaidS == nil || l.Kept == nil || *l.Kept != l.Lost) ||
			s.Name != report.MirrorCrash && l.Lost > 0 {
			t.Errorf("%s: %+v", s.Name, s.Ledger)
		}
		for _, want := range said[s.Name] {
			if !slices.ContainsFunc(s.Events, func(e report.Event) bool { return strings.Contains(e.What, want) }) {
				t.Errorf("%s: no event %q among %v", s.Name, want, s.Events)
			}
		}
	}
}

// What the guests' resources have for the mirror.
const (
	mirrorInterval = 10 * time.Second
	mirrorMaxLoss  = 60 * time.Second
)

// reflected is a guest whose disk is mirrored, under Pacemaker. It has a ledger, and a client that sends numbers to it
// all the time: ten a second, so that the client remembers those of two intervals.
type reflected struct {
	pair
	spec   guest.DomainSpec
	limit  time.Duration // within which it boots
	client *ledger.Client
	hangUp func() // ends the client, and returns when it has ended
}

// newReflected describes the guest with that number. Each part has its own: the cluster remembers the epochs of each
// guest.
func newReflected(t *testing.T, b bench, number int) *reflected {
	t.Helper()
	r := &reflected{pair: pair{t, b}, limit: 90 * time.Second, hangUp: func() {}}
	r.spec = scenario.Kind{Name: "mirrored", First: number, MemoryMiB: guest.MinMemoryMiB, Ledger: true}.Spec(0)
	r.spec.Disk = mirrored.Disk(r.spec.Name)
	t.Cleanup(func() { r.hangUp() })
	r.both("bash", "-euc", mirrored.Pool)
	return r
}

// withDatabase makes it one whose ledger is in a database, and its disk.
func (r *reflected) withDatabase() {
	r.t.Helper()
	r.limit = 5 * time.Minute
	r.spec.Ledger, r.spec.Database, r.spec.MemoryMiB = false, true, guest.DatabaseMemoryMiB
	r.spec.Initrd = "/shared/boot/initrd-database"
	run := func(_ context.Context, program string, args ...string) error {
		r.on(source, append([]string{program}, args...)...)
		return nil
	}
	if err := guest.CreateDatabaseDisk(r.t.Context(), run, r.spec.Disk); err != nil {
		r.t.Fatal(err)
	}
}

// withLedger makes its disk, of which a full round has many MiB.
func (r *reflected) withLedger() {
	r.t.Helper()
	r.on(source, "bash", "-euc", mirrored.LedgerDisk(r.spec.Disk, 55))
}

// start has the guest started on the first node, and returns when its replica is whole.
func (r *reflected) start() {
	r.t.Helper()
	r.define()
	begun := time.Now()
	r.dial()
	r.acknowledges()
	r.synced(target, begun)
	r.t.Logf("the replica was whole %.1f s after the start", time.Since(begun).Seconds())
}

// acknowledges waits until the guest has booted, and acknowledges numbers.
func (r *reflected) acknowledges() {
	r.t.Helper()
	await(r.t, "the guest to acknowledge numbers", r.limit, func() bool { n, _ := r.client.Last(); return n > 0 })
}

// define gives Pacemaker the guest.
func (r *reflected) define() {
	r.t.Helper()
	text, err := guest.Domain(r.spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(r.b.dir, "shared", "guests", r.spec.Name+".xml"), []byte(text), 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	known := cluster.Guest{Name: r.spec.Name, Config: "/shared/guests/" + r.spec.Name + ".xml"}
	for _, p := range mirrored.Parameters([2]string{source, target}, mirrorInterval, mirrorMaxLoss) {
		known.More = append(known.More, cluster.Parameter{Name: p[0], Value: p[1]})
	}
	cib, err := cluster.Configuration(cluster.QEMU, cluster.Ours, []cluster.Guest{known}, source)
	if err != nil {
		r.t.Fatal(err)
	}
	r.on(target, "cibadmin", "--modify", "--allow-create", "--scope=configuration", "--xml-text="+cib)
}

// dial starts another client, which knows of no number yet.
func (r *reflected) dial() {
	address, _, _ := strings.Cut(r.spec.IP, "/")
	r.client = &ledger.Client{Address: net.JoinHostPort(address, strconv.Itoa(ledger.Port)), Pace: 100 * time.Millisecond,
		Quiet: time.Second, Dial: r.b.dial}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func(c *ledger.Client) { defer close(done); c.Run(ctx) }(r.client)
	r.hangUp = func() { cancel(); <-done }
}

// dial connects to an address of the lab's network: a socket belongs to the network of the thread that makes it. The
// thread, which stays there, ends with its goroutine.
func (b bench) dial(ctx context.Context, to string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		err := b.join()
		if err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", to)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// join puts the calling thread into the lab's network.
func (b bench) join() error {
	text, err := os.ReadFile(filepath.Join(b.dir, "lab.json"))
	if err != nil {
		return err
	}
	var life struct{ PID int }
	if err := json.Unmarshal(text, &life); err != nil {
		return err
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", life.PID))
	if err != nil {
		return err
	}
	defer ns.Close()
	return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
}

// giveBack takes the guest away, with all of its files.
func (r *reflected) giveBack() {
	r.hangUp()
	name := r.spec.Name
	r.on(target, "crm_resource", "--wait", "--timeout=60")
	r.on(target, "crm_resource", "--resource="+name, "--meta", "--set-parameter=target-role", "--parameter-value=Stopped")
	r.on(target, "crm_resource", "--wait", "--timeout=90")
	for _, path := range []string{"//rsc_location[@rsc='%s']", "//primitive[@id='%s']"} {
		r.on(target, "cibadmin", "--delete-all", "--force", "--xpath="+fmt.Sprintf(path, name))
	}
	r.on(target, "crm_resource", "--wait", "--timeout=60")
	r.both("bash", "-c", "rm --force "+r.spec.Disk+"* "+mirror.DefaultDir+"/"+r.spec.UUID+".*")
}

// view is on the nodes' own files.
func (r *reflected) view() mirrored.View { return mirrored.View{Dir: r.b.dir} }

func (r *reflected) has(node, path string) bool { return r.view().Has(node, path) }

// manifest is what a node knows of the guest; the zero value where it knows nothing.
func (r *reflected) manifest(node string) mirror.Manifest {
	r.t.Helper()
	m, err := r.view().Manifest(node, r.spec.UUID)
	if err != nil {
		r.t.Fatalf("the manifest of %s: %v", node, err)
	}
	if m == nil {
		return mirror.Manifest{}
	}
	return *m
}

// synced waits until a node has a whole replica of what the guest had written at some time after since. The operator's
// command must say the same at both nodes.
func (r *reflected) synced(node string, since time.Time) {
	r.t.Helper()
	await(r.t, "a whole replica on "+node, 60*time.Second, func() bool {
		m := r.manifest(node)
		return m.Role == mirror.Replica && !m.Applying && m.Taken().After(since)
	})
	for at, role := range map[string]mirror.Role{node: mirror.Replica, other(node): mirror.Truth} {
		said := r.on(at, "vmferry", "mirror", "status", "--json")
		if !strings.Contains(said, r.spec.Name) || !regexp.MustCompile(`"role": ?"`+string(role)+`"`).MatchString(said) {
			r.t.Errorf("vmferry mirror status at %s does not say that the guest has its %s there:\n%s", at, role, said)
		}
	}
}

// scan reads the ledger on an image of a node.
func (r *reflected) scan(node, image string) ledger.Scan {
	r.t.Helper()
	s, err := r.view().Ledger(node, image)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// records are those that the guest has, which runs on a node.
func (r *reflected) records(node string) ledger.Scan {
	r.t.Helper()
	if !r.spec.Database {
		return r.scan(node, r.spec.Disk)
	}
	s, err := r.client.Records(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// runsOnlyAt fails the test where a copy of the guest runs on another node.
func (r *reflected) runsOnlyAt(node string) {
	r.t.Helper()
	if len(find(r.t, other(node), qemuOf(r.spec.Name))) > 0 {
		r.t.Fatalf("a copy of the guest runs on %s, and its disks are on %s", other(node), node)
	}
}

// testMirrorCut cuts the link in the middle of a full round, and for ssh alone. The guest must not notice.
func testMirrorCut(t *testing.T, b bench) {
	r := newReflected(t, b, 71)
	defer r.giveBack()
	r.withLedger()
	r.start()
	ssh := []string{"INPUT", "--protocol=tcp", "--dport=22"}
	drop := append(ssh, "--jump=DROP")
	first := append(ssh[:len(ssh):len(ssh)], "--match=quota", "--quota=8000000", "--jump=ACCEPT") // of some 58 million
	rule := func(verb string, args []string) {
		r.on(target, append([]string{"iptables", "--wait", verb}, args...)...)
	}
	before := r.manifest(target)
	begun := time.Now()
	rule("--insert", drop)
	rule("--insert", first)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	resync := b.command(ctx, "shell", source, "vmferry", "mirror", "resync", r.spec.Name)
	if err := resync.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = resync.Wait() }()
	dropped := regexp.MustCompile(`(?m)^\s*[1-9]\d*\s+\d+\s+DROP\s.*dpt:22\b`)
	await(t, "the link to be cut in the middle of the round", 30*time.Second, func() bool {
		return dropped.MatchString(r.on(target, "iptables", "--wait", "--list", "INPUT", "--numeric", "--verbose", "--exact"))
	})
	cut := time.Now()
	job := func() string { return r.on(source, "virsh", "--connect", "qemu:///system", "domjobinfo", r.spec.Name) }
	if state := job(); !strings.Contains(state, "Backup") && strings.Contains(state, "None") {
		t.Errorf("the link was cut when no round was under way: %s", state)
	}
	await(t, "the round to be given up", 45*time.Second, func() bool { return strings.Contains(job(), "None") })
	t.Logf("the round was given up %.1f s after the cut", time.Since(cut).Seconds())
	if now := r.manifest(target); !now.Taken().Equal(before.Taken()) && !now.Taken().Before(cut) {
		t.Errorf("a round came through a link that is cut: %+v", now)
	}
	r.t.Log(r.on(source, "vmferry", "mirror", "status", r.spec.Name))
	rule("--delete", first)
	rule("--delete", drop)
	mended := time.Now()
	r.synced(target, mended)
	t.Logf("the replica was whole %.1f s after the link was back", time.Since(mended).Seconds())
	for _, s := range r.client.Silences(begun) {
		t.Errorf("the guest acknowledged nothing from %s to %s", s.From.Format(time.TimeOnly), s.To.Format(time.TimeOnly))
	}
	r.nothingLost()
}

// nothingLost compares all that was acknowledged to this client with what the guest has.
func (r *reflected) nothingLost() {
	r.t.Helper()
	await(r.t, "the guest to say what it has", 20*time.Second, func() bool {
		found, err := r.client.Verify(r.t.Context())
		if err == nil && (!found.Good() || found.Damaged > 0) {
			r.t.Errorf("the guest has lost something: %+v", found)
		}
		return err == nil
	})
}

// testMirrorCrash has the node crash on which the guest runs, at some moment between two rounds or in one, and then come
// back with disks that are newer than those that the guest was continued from.
func testMirrorCrash(t *testing.T, b bench) {
	r := newReflected(t, b, 72)
	defer r.giveBack()
	r.withLedger()
	r.start()
	var acked []ledger.Ack
	for _, part := range []struct {
		name string
		do   func()
	}{
		{"crash", func() { acked = r.crash() }},
		{"return", func() { r.comesBack(acked) }},
		{"home", r.goesHome},
	} {
		ok := t.Run(part.name, func(t *testing.T) { r.t = t; part.do() })
		r.t = t
		if !ok {
			return
		}
	}
}

// testMirrorDatabase is the crash, for a database: what it had committed when the replica was taken is there, and its
// recovery finds nothing torn.
func testMirrorDatabase(t *testing.T, b bench) {
	r := newReflected(t, b, 73)
	defer r.giveBack()
	r.withDatabase()
	r.start()
	r.crash()
}

// crash returns what was acknowledged before the crash.
func (r *reflected) crash() []ledger.Ack {
	moment := rand.New(rand.NewPCG(uint64(shareOf(r.t).number), 0)).Int64N(int64(mirrorInterval))
	time.Sleep(mirrorInterval + time.Duration(moment))
	r.lab(supervisor.Request{Op: supervisor.OpKill, Node: source})
	crashed := time.Now()
	r.hangUp()
	acked := r.client.Acked()
	replica := r.manifest(target)
	await(r.t, "the replica to be promoted", 60*time.Second, func() bool {
		m := r.manifest(target)
		if m.Role == mirror.Replica {
			replica = m
		}
		r.runsOnlyAt(target)
		return m.Role == mirror.Truth
	})
	r.dial()
	r.acknowledges()
	r.t.Logf("the guest was back %.1f s after the crash", time.Since(crashed).Seconds())
	s := r.records(target)
	r.t.Logf("%d numbers were acknowledged before the crash, the last is %d; the disk has %d records, the last is %d",
		len(acked), acked[len(acked)-1].Number, len(s.Records), s.Last())
	lost, double := mirrored.Lost(acked, s)
	if len(double) > 0 || s.Damaged > 0 {
		r.t.Errorf("the replica is torn: %d damaged, %q", s.Damaged, double)
	}
	said := r.saidLoss()
	own := r.manifest(target)
	if own.Lost <= 0 || own.Epoch <= replica.Epoch || time.Duration(own.Lost*float64(time.Second)) > mirrorMaxLoss {
		r.t.Errorf("the manifest after %+v is %+v", replica, own)
	}
	if len(lost) == 0 {
		return acked // it may have crashed right after a round
	}
	oldest := lost[0]
	r.t.Logf("%d numbers are lost, the oldest %.1f s before the crash; the replica was of %.1f s before it, and at most %s were said",
		len(lost), crashed.Sub(oldest.At).Seconds(), crashed.Sub(replica.Taken()).Seconds(), said)
	if oldest.At.Before(replica.Taken()) {
		r.t.Errorf("number %d was acknowledged at %s, before the replica was taken at %s, and is lost", oldest.Number,
			oldest.At, replica.Taken())
	}
	if crashed.Sub(oldest.At) > said {
		r.t.Errorf("%s are lost, and the agent said %s at most", crashed.Sub(oldest.At), said)
	}
	return acked
}

// saidLoss is what the agent has logged of the loss.
func (r *reflected) saidLoss() time.Duration {
	r.t.Helper()
	log := r.on(target, "journalctl", "--boot", "--no-pager", "--output=cat", "--identifier=vmferry-agent")
	said, err := mirrored.SaidLoss(log)
	if err != nil {
		r.t.Errorf("the agent says nothing of the loss: %v\n%s", err, log)
	}
	return said
}

// comesBack has the node boot whose disks are of an epoch that is over, and newer.
func (r *reflected) comesBack(acked []ledger.Ack) {
	r.lab(supervisor.Request{Op: supervisor.OpOn, Node: source}) // which the cluster has done, if it fences by a reboot
	await(r.t, "both nodes to be members", 90*time.Second, func() bool {
		r.runsOnlyAt(target)
		out, code := r.b.try(r.t, "shell", source, "crm_mon", "--one-shot")
		return code == 0 && strings.Contains(out, "Online: [ node1 node2 ]")
	})
	back := time.Now()
	await(r.t, "the node to put its disk aside", 60*time.Second, func() bool {
		r.runsOnlyAt(target)
		return r.has(source, r.spec.Disk+mirror.OldSuffix)
	})
	r.synced(source, back)
	r.runsOnlyAt(target)
	if r.has(source, r.spec.Disk) {
		r.t.Errorf("%s is still there", r.spec.Disk)
	}
	r.keepsOld(acked)
	if own, truth := r.manifest(source), r.manifest(target); own.Epoch != truth.Epoch || truth.Role != mirror.Truth {
		r.t.Errorf("after the return %s has %+v, and %s has %+v", source, own, target, truth)
	}
}

// keepsOld wants the image that the crash has left to have all that was acknowledged: nobody else has the end of it.
func (r *reflected) keepsOld(acked []ledger.Ack) {
	r.t.Helper()
	s := r.scan(source, r.spec.Disk+mirror.OldSuffix)
	if lost, _ := mirrored.Lost(acked, s); len(lost) > 0 {
		r.t.Errorf("the old image lacks %d numbers from %d on", len(lost), lost[0].Number)
	}
}

// goesHome moves the guest back live. The roles change, and no number is lost.
func (r *reflected) goesHome() {
	epoch, begun := r.manifest(target).Epoch, time.Now()
	r.on(target, "crm_resource", "--resource="+r.spec.Name, "--move", "--node="+source, "--lifetime=PT1H")
	await(r.t, "the guest to be on "+source+", moved live", 60*time.Second, func() bool {
		out, _ := r.b.try(r.t, "shell", source, "virsh", "--connect", "qemu:///system", "domstate", "--reason", r.spec.Name)
		return strings.Contains(out, "running (migrated)")
	})
	r.on(target, "crm_resource", "--wait", "--timeout=60")
	moved := time.Now()
	r.synced(target, moved)
	if own := r.manifest(source); own.Role != mirror.Truth || own.Epoch <= epoch {
		r.t.Errorf("%s was given the guest of epoch %d, and has %+v", source, epoch, own)
	}
	r.runsOnlyAt(source)
	r.nothingLost()
	if s := r.scan(source, r.spec.Disk); s.Damaged > 0 || !r.client.Against(s).Good() {
		r.t.Errorf("after the move: %d damaged, %+v", s.Damaged, r.client.Against(s))
	}
	if old := r.has(source, r.spec.Disk+disks.OldSuffix); !old {
		r.t.Error("the move has removed what the crash had left, which nobody else has")
	}
	r.t.Logf("the move took %.1f s; silences: %+v", moved.Sub(begun).Seconds(), r.client.Silences(begun))
	checkNoFailures(r.t, r.on(target, "crm_mon", "--one-shot", "--inactive", "--failcounts"))
}
