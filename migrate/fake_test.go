package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/slot"
)

const (
	guestUUID = "11111111-2222-3333-4444-555555555555"
	sourceURI = "fake:///source"
	targetURI = "fake:///target"
	guestDoc  = `<domain type='qemu'><name>web</name><uuid>` + guestUUID + `</uuid><memory unit='KiB'>524288</memory>
<os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
<devices><disk type='file' device='disk'><source file='/shared/web.img'/><target dev='vda'/></disk></devices></domain>`
)

func capsDoc(uuid string) string {
	return `<capabilities><host><uuid>` + uuid + `</uuid></host><guest><os_type>hvm</os_type><arch name='x86_64'>
<machine canonical='pc-q35-10.0'>q35</machine><machine>pc-q35-10.0</machine><domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>`
}

// fake is one end of a pair. What a test wants to go wrong it assigns.
type fake struct {
	mu             sync.Mutex
	uri            string
	peer           string // where it may migrate to
	status         libvirt.Status
	fails          error // why it gives no answer, libvirt.ErrNoDomain for a guest that is not there
	watchers       []func(libvirt.Event)
	job            libvirt.JobStats
	aborted        chan struct{}
	broken         chan struct{} // a try to continue with a post-copy was broken off
	closed         int
	limits         []time.Duration
	speeds         []uint64
	postCopySpeeds []uint64
	setPostCopy    func(ctx context.Context) error // answers those, where not nil
	polls          int
	resumes        int

	xml, caps string
	free      uint64
	visible   libvirt.Visible
	cpu       bool

	load   libvirt.Load // with what StartDirtyRate measures
	ready  time.Time    // when that is there
	params []libvirt.MigrateParams
	files  map[string]string // in its storage pool, with what is in them, or how large they are; nil where visible is the answer for all
	size   libvirt.DiskSize
	room   uint64
	making func(path string) // before an image is made, where not nil
	create error             // why no image can be made
	cut    bool              // nothing is sent any more

	hostname  string
	rehearsal func(p libvirt.MigrateParams) error // nil where libvirt has nothing against it
	accepts   error
	snapshots libvirt.Snapshots
	networks  map[string]libvirt.Network
	names     map[string][]string // by directory; nil where it cannot look
	texts     map[string][]byte   // by path; nil where it cannot read
	pages     uint64
	domCaps   string

	xbzrle                   libvirt.XBZRLEStats // of the job that ended
	connect, watch, setLimit error
	gauge                    error // why it cannot measure, which it usually cannot
	migrate                  func(ctx context.Context) error
	postCopy                 func() error
}

func runs(reason string) libvirt.Status {
	return libvirt.Status{State: libvirt.Running, Reason: reason, UUID: guestUUID, ID: 1}
}

func stopped(reason string) libvirt.Status {
	return libvirt.Status{State: libvirt.Paused, Reason: reason, UUID: guestUUID, ID: 1}
}

// is sets what the end answers from now on.
func (f *fake) is(s libvirt.Status) { f.mu.Lock(); defer f.mu.Unlock(); f.status, f.fails = s, nil }

func (f *fake) answers(err error) { f.mu.Lock(); defer f.mu.Unlock(); f.fails = err }

// refuse sets why the end takes no connection, nil when it does.
func (f *fake) refuse(err error) { f.mu.Lock(); defer f.mu.Unlock(); f.connect = err }

func (f *fake) asked() int { f.mu.Lock(); defer f.mu.Unlock(); return f.polls }

func (f *fake) setJob(j libvirt.JobStats) { f.mu.Lock(); defer f.mu.Unlock(); f.job = j }

func (f *fake) emit(name, details string) {
	f.mu.Lock()
	watchers, now := f.watchers, time.Now()
	f.mu.Unlock()
	for _, w := range watchers {
		w(libvirt.Event{Name: name, Seconds: now.Unix(), Micros: uint(now.Nanosecond() / 1000), Details: details, Received: now})
	}
}

func (f *fake) Status(context.Context, string) (libvirt.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, f.fails
}

func (f *fake) Watch(_ context.Context, _ string, w func(libvirt.Event)) (func(), error) {
	if f.watch != nil {
		return nil, f.watch
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = append(f.watchers, w)
	return func() {}, nil
}

func (f *fake) JobStats(context.Context, string) (libvirt.JobStats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.polls++
	if f.job.Active && !f.cut {
		f.job.Processed++
		if f.job.Rate > 0 && f.job.DirtyRate >= f.job.Rate {
			f.job.Iteration++ // which never converges
		}
	}
	return f.job, f.fails
}

func (f *fake) CompletedJob(context.Context, string) (libvirt.JobStats, error) {
	return libvirt.JobStats{Processed: 7 << 20, Iteration: 3, XBZRLE: f.xbzrle}, nil
}

func (f *fake) MigrateToURI3(ctx context.Context, _, target string, params libvirt.MigrateParams) error {
	if target != cmp.Or(f.peer, targetURI) {
		return fmt.Errorf("migrated to %q", target)
	}
	f.mu.Lock()
	f.params = append(f.params, params)
	f.mu.Unlock()
	return f.migrate(ctx)
}

func (f *fake) SetMaxDowntime(_ context.Context, _ string, limit time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.setLimit != nil {
		return f.setLimit
	}
	f.limits = append(f.limits, limit)
	return nil
}

func (f *fake) Load(context.Context, string) (libvirt.Load, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	load := f.load
	load.Dirty.Measured = load.Dirty.Measured && !time.Now().Before(f.ready)
	return load, f.fails
}

func (f *fake) StartDirtyRate(_ context.Context, _ string, span time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gauge == nil {
		f.ready, f.load.Dirty.Since = time.Now().Add(span), time.Now()
	}
	return f.gauge
}

func (f *fake) StartPostCopy(ctx context.Context, _ string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return f.postCopy()
}

func (f *fake) AbortJob(context.Context, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.aborted:
	default:
		close(f.aborted)
	}
	return nil
}

func (f *fake) SetMaxSpeed(ctx context.Context, _ string, mibs uint64, postCopy bool) error {
	f.mu.Lock()
	if !postCopy {
		defer f.mu.Unlock()
		f.speeds = append(f.speeds, mibs)
		return nil
	}
	f.postCopySpeeds = append(f.postCopySpeeds, mibs)
	f.mu.Unlock()
	if f.setPostCopy != nil {
		return f.setPostCopy(ctx)
	}
	return nil
}

func (f *fake) BreakPostCopy(context.Context, string) error {
	select {
	case f.broken <- struct{}{}:
	default:
	}
	return nil
}

func (f *fake) Resume(context.Context, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resumes++
	f.status = runs("unpaused")
	return nil
}

func (f *fake) XML(context.Context, string) (string, error)                       { return f.xml, nil }
func (f *fake) Capabilities(context.Context) (string, error)                      { return f.caps, nil }
func (f *fake) FreeMemory(context.Context) (uint64, error)                        { return f.free, nil }
func (f *fake) Close() error                                                      { f.mu.Lock(); defer f.mu.Unlock(); f.closed++; return nil }
func (f *fake) CompareCPU(context.Context, libvirt.Machine, string) (bool, error) { return f.cpu, nil }
func (f *fake) DiskSize(context.Context, string, string) (libvirt.DiskSize, error) {
	return f.size, nil
}

func (f *fake) Rehearse(_ context.Context, _, target string, p libvirt.MigrateParams) error {
	if target != cmp.Or(f.peer, targetURI) {
		return fmt.Errorf("rehearsed to %q", target)
	}
	if f.rehearsal == nil {
		return nil
	}
	return f.rehearsal(p)
}

func (f *fake) Portable(context.Context, string) (string, error) { return f.xml, nil }
func (f *fake) Accepts(context.Context, string) error            { return f.accepts }
func (f *fake) Hostname(context.Context) (string, error)         { return f.hostname, nil }

func (f *fake) Snapshots(context.Context, string) (libvirt.Snapshots, error) {
	return f.snapshots, nil
}

func (f *fake) Network(_ context.Context, name string) (libvirt.Network, error) {
	n, ok := f.networks[name]
	if !ok {
		return n, libvirt.ErrNoNetwork
	}
	return n, nil
}

func (f *fake) Names(_ context.Context, dir string) ([]string, error) {
	if f.names == nil {
		return nil, libvirt.ErrUnsupported
	}
	return f.names[dir], nil
}

func (f *fake) Text(_ context.Context, file string, _ int) ([]byte, error) {
	if f.texts == nil {
		return nil, libvirt.ErrUnsupported
	}
	return f.texts[file], nil
}

func (f *fake) FreePages(context.Context, uint64) (uint64, error) { return f.pages, nil }

func (f *fake) DomainCapabilities(context.Context, string, libvirt.Machine) (string, error) {
	return f.domCaps, nil
}

func (f *fake) Room(context.Context, string) (uint64, error) { return f.room, nil }

func (f *fake) CreateImage(_ context.Context, image libvirt.Image) error {
	if f.making != nil {
		f.making(image.Path)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.create != nil && strings.HasSuffix(image.Path, ".img") {
		return f.create
	}
	if _, there := f.files[image.Path]; there {
		return errors.New("storage volume exists already")
	}
	f.files[image.Path] = fmt.Sprint(image.Capacity)
	return nil
}

// RemoveImage is strict as a real host is.
func (f *fake) RemoveImage(_ context.Context, path string, mark libvirt.Mark) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.files[path]; !there {
		return nil
	}
	if mark.Size == 0 || filepath.Dir(mark.Path) != filepath.Dir(path) || f.files[mark.Path] != fmt.Sprint(mark.Size) {
		return libvirt.ErrForeign
	}
	delete(f.files, path)
	return nil
}

func (f *fake) ReadImage(_ context.Context, path string, _ int) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []byte(f.files[path]), nil
}

func (f *fake) DiskVisible(_ context.Context, source libvirt.DiskSource) (libvirt.Visible, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files == nil {
		return f.visible, nil
	}
	if _, there := f.files[source.Path]; there {
		return libvirt.VisibleYes, nil
	}
	return libvirt.VisibleNo, nil
}

// pair is a guest that runs at the source, and a target with room for it.
type pair struct {
	source, target *fake
	deps           Deps
	req            Request
	shorten        chan time.Time
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{
		source: &fake{uri: sourceURI, status: runs("booted"), xml: guestDoc, caps: capsDoc("source"), aborted: make(chan struct{}), broken: make(chan struct{}, 1), gauge: libvirt.ErrUnsupported, free: 1 << 40},
		target: &fake{uri: targetURI, fails: libvirt.ErrNoDomain, caps: capsDoc("target"), free: 1 << 40, visible: libvirt.VisibleYes, cpu: true, hostname: "node2"},
	}
	p.source.migrate = func(context.Context) error { p.copy(); p.switchover(); return nil }
	p.req = Request{Guest: "web", SourceURI: sourceURI, Target: "node2", TargetURI: targetURI}
	p.deps = Deps{Slots: slot.Pool{Dir: t.TempDir()}, Open: p.open, Resolve: resolve, Own: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} }}
	return p
}

func (p *pair) open(_ context.Context, uri string) (endpoint.Host, error) {
	f := map[string]*fake{p.source.uri: p.source, p.target.uri: p.target}[uri]
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.connect != nil {
		return nil, f.connect
	}
	return f, nil
}

func (p *pair) migration(status string) {
	p.source.emit("MIGRATION", `{"status":"`+status+`"}`)
}

// copy is pre-copy: two passes in two seconds.
func (p *pair) copy() {
	p.migration("setup")
	p.migration("active")
	p.target.is(stopped("migration"))
	for pass := 1; pass <= 2; pass++ {
		p.source.emit("MIGRATION_PASS", fmt.Sprintf(`{"pass":%d}`, pass))
		p.source.setJob(libvirt.JobStats{Active: true, Total: 512 << 20, Remaining: 1 << 20, Processed: 5 << 20, Rate: 100 << 20, Iteration: pass})
		time.Sleep(time.Second)
	}
}

// halt stops the guest at the source: the pause begins.
func (p *pair) halt() {
	p.source.is(stopped("migration"))
	p.source.emit("STOP", "")
	p.migration("pre-switchover")
	p.migration("device")
	time.Sleep(10 * time.Millisecond)
}

func (p *pair) switchover() {
	p.halt()
	p.migration("completed")
	time.Sleep(5 * time.Millisecond)
	p.target.is(runs("migrated"))
	p.target.emit("RESUME", "")
	p.source.setJob(libvirt.JobStats{})
	p.source.answers(libvirt.ErrNoDomain)
	p.source.emit("SHUTDOWN", `{"guest":false,"reason":"host-signal"}`)
}

// cancelled is how libvirt tidies up: the guest continues at the source, and the target has none.
func (p *pair) cancelled() {
	p.migration("cancelled")
	p.source.setJob(libvirt.JobStats{})
	p.source.is(runs("migration-canceled"))
	p.target.answers(libvirt.ErrNoDomain)
}

// resolve knows the target, and each name that says itself where it leads.
func resolve(_ context.Context, host string) ([]netip.Addr, error) {
	known := map[string]string{"node2": "192.0.2.2", "kvm-b": "192.0.2.2", "self": "127.0.1.1", "vip": "192.0.2.1"}
	if known[host] == "" {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.MustParseAddr(known[host])}, nil
}
