package endpointtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// The guest, and the URIs of the two ends.
const (
	UUID      = "11111111-2222-3333-4444-555555555555"
	SourceURI = "fake:///source"
	TargetURI = "fake:///target"
	GuestXML  = `<domain type='qemu'><name>web</name><uuid>` + UUID + `</uuid><memory unit='KiB'>524288</memory>
<os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
<devices><disk type='file' device='disk'><source file='/shared/web.img'/><target dev='vda'/></disk></devices></domain>`
)

// CapsXML is the capabilities of a host with that UUID.
func CapsXML(uuid string) string {
	return `<capabilities><host><uuid>` + uuid + `</uuid></host><guest><os_type>hvm</os_type><arch name='x86_64'>
<machine canonical='pc-q35-10.0'>q35</machine><machine>pc-q35-10.0</machine><domain type='qemu'/><domain type='kvm'/>
</arch></guest></capabilities>`
}

// Fake is one end of a pair. What a test wants to go wrong it assigns.
type Fake struct {
	Mu             sync.Mutex
	URI            string
	Peer           string // where it may migrate to, TargetURI where empty
	At             libvirt.Status
	Fails          error // why it gives no answer, libvirt.ErrNoDomain for a guest that is not there
	Watchers       []func(libvirt.Event)
	Job            libvirt.JobStats
	Aborted        chan struct{}
	Broken         chan struct{} // a post-copy recovery was aborted
	Closed         int
	Limits         []time.Duration
	Speeds         []uint64
	PostCopySpeeds []uint64
	SetPostCopy    func(ctx context.Context) error // answers those, where not nil
	Polls          int
	Resumes        int

	Doc, Caps string
	Free      uint64
	Visible   libvirt.Visible
	CPU       bool

	Guest  libvirt.Load // with what StartDirtyRate measures
	ready  time.Time    // when that is there
	Params []libvirt.MigrateParams
	// Files are those in its storage pool, with what is in them, or how large they are; nil where Visible is the answer
	// for all.
	Files     map[string]string
	Size      libvirt.DiskSize
	Space     uint64
	Making    func(path string) // before an image is made, where not nil
	CreateErr error             // why no image can be made
	Cut       bool              // nothing is sent any more

	Name      string
	Rehearsal func(p libvirt.MigrateParams) error // nil where libvirt has nothing against it
	Refuses   error
	Kept      libvirt.Snapshots
	Networks  map[string]libvirt.Network
	Dirs      map[string][]string // by directory; nil where it cannot look
	Texts     map[string][]byte   // by path; nil where it cannot read
	Pages     uint64
	DomCaps   string

	XBZRLE                         libvirt.XBZRLEStats // of the job that ended
	ConnectErr, WatchErr, LimitErr error
	GaugeErr                       error // why it cannot measure, which it usually cannot
	Migrate                        func(ctx context.Context) error
	PostCopy                       func() error
}

// Runs is the state of a running guest.
func Runs(reason string) libvirt.Status {
	return libvirt.Status{State: libvirt.Running, Reason: reason, UUID: UUID, ID: 1}
}

// Stopped is the state of a paused guest.
func Stopped(reason string) libvirt.Status {
	return libvirt.Status{State: libvirt.Paused, Reason: reason, UUID: UUID, ID: 1}
}

// Is sets what the end answers from now on.
func (f *Fake) Is(s libvirt.Status) { f.Mu.Lock(); defer f.Mu.Unlock(); f.At, f.Fails = s, nil }

// Answer sets why the end gives no answer, libvirt.ErrNoDomain for a guest that is not there.
func (f *Fake) Answer(err error) { f.Mu.Lock(); defer f.Mu.Unlock(); f.Fails = err }

// Refuse sets why the end takes no connection, nil when it does.
func (f *Fake) Refuse(err error) { f.Mu.Lock(); defer f.Mu.Unlock(); f.ConnectErr = err }

// Asked is how often the job was queried.
func (f *Fake) Asked() int { f.Mu.Lock(); defer f.Mu.Unlock(); return f.Polls }

// SetJob sets the job under way.
func (f *Fake) SetJob(j libvirt.JobStats) { f.Mu.Lock(); defer f.Mu.Unlock(); f.Job = j }

// Emit sends an event of QEMU's to all who watch.
func (f *Fake) Emit(name, details string) {
	f.Mu.Lock()
	watchers, now := f.Watchers, time.Now()
	f.Mu.Unlock()
	for _, w := range watchers {
		w(libvirt.Event{Name: name, Seconds: now.Unix(), Micros: uint(now.Nanosecond() / 1000), Details: details,
			Received: now})
	}
}

// Status implements endpoint.Host.
func (f *Fake) Status(context.Context, string) (libvirt.Status, error) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	return f.At, f.Fails
}

// Watch implements endpoint.Host.
func (f *Fake) Watch(_ context.Context, _ string, w func(libvirt.Event)) (func(), error) {
	if f.WatchErr != nil {
		return nil, f.WatchErr
	}
	f.Mu.Lock()
	defer f.Mu.Unlock()
	f.Watchers = append(f.Watchers, w)
	return func() {}, nil
}

// JobStats implements endpoint.Host.
func (f *Fake) JobStats(context.Context, string) (libvirt.JobStats, error) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	f.Polls++
	if f.Job.Active && !f.Cut {
		f.Job.Processed++
		if f.Job.Rate > 0 && f.Job.DirtyRate >= f.Job.Rate {
			f.Job.Iteration++ // which never converges
		}
	}
	return f.Job, f.Fails
}

// CompletedJob implements endpoint.Host.
func (f *Fake) CompletedJob(context.Context, string) (libvirt.JobStats, error) {
	return libvirt.JobStats{Processed: 7 << 20, Iteration: 3, XBZRLE: f.XBZRLE}, nil
}

// MigrateToURI3 implements endpoint.Host.
func (f *Fake) MigrateToURI3(ctx context.Context, _, target string, params libvirt.MigrateParams) error {
	if target != cmp.Or(f.Peer, TargetURI) {
		return fmt.Errorf("migrated to %q", target)
	}
	f.Mu.Lock()
	f.Params = append(f.Params, params)
	f.Mu.Unlock()
	return f.Migrate(ctx)
}

// SetMaxDowntime implements endpoint.Host.
func (f *Fake) SetMaxDowntime(_ context.Context, _ string, limit time.Duration) error {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if f.LimitErr != nil {
		return f.LimitErr
	}
	f.Limits = append(f.Limits, limit)
	return nil
}

// Load implements endpoint.Host.
func (f *Fake) Load(context.Context, string) (libvirt.Load, error) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	load := f.Guest
	load.Dirty.Measured = load.Dirty.Measured && !time.Now().Before(f.ready)
	return load, f.Fails
}

// StartDirtyRate implements endpoint.Host.
func (f *Fake) StartDirtyRate(_ context.Context, _ string, span time.Duration) error {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if f.GaugeErr == nil {
		f.ready, f.Guest.Dirty.Since = time.Now().Add(span), time.Now()
	}
	return f.GaugeErr
}

// StartPostCopy implements endpoint.Host.
func (f *Fake) StartPostCopy(ctx context.Context, _ string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return f.PostCopy()
}

// AbortJob implements endpoint.Host.
func (f *Fake) AbortJob(context.Context, string) error {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	select {
	case <-f.Aborted:
	default:
		close(f.Aborted)
	}
	return nil
}

// SetMaxSpeed implements endpoint.Host.
func (f *Fake) SetMaxSpeed(ctx context.Context, _ string, mibs uint64, postCopy bool) error {
	f.Mu.Lock()
	if !postCopy {
		defer f.Mu.Unlock()
		f.Speeds = append(f.Speeds, mibs)
		return nil
	}
	f.PostCopySpeeds = append(f.PostCopySpeeds, mibs)
	f.Mu.Unlock()
	if f.SetPostCopy != nil {
		return f.SetPostCopy(ctx)
	}
	return nil
}

// AbortPostCopy implements endpoint.Host.
func (f *Fake) AbortPostCopy(context.Context, string) error {
	select {
	case f.Broken <- struct{}{}:
	default:
	}
	return nil
}

// Resume implements endpoint.Host.
func (f *Fake) Resume(context.Context, string) error {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	f.Resumes++
	f.At = Runs("unpaused")
	return nil
}

// XML implements endpoint.Host.
func (f *Fake) XML(context.Context, string) (string, error) { return f.Doc, nil }

// Capabilities implements endpoint.Host.
func (f *Fake) Capabilities(context.Context) (string, error) { return f.Caps, nil }

// FreeMemory implements endpoint.Host.
func (f *Fake) FreeMemory(context.Context) (uint64, error) { return f.Free, nil }

// Close implements endpoint.Host.
func (f *Fake) Close() error { f.Mu.Lock(); defer f.Mu.Unlock(); f.Closed++; return nil }

// CompareCPU implements endpoint.Host.
func (f *Fake) CompareCPU(context.Context, libvirt.Machine, string) (bool, error) { return f.CPU, nil }

// DiskSize implements endpoint.Host.
func (f *Fake) DiskSize(context.Context, string, string) (libvirt.DiskSize, error) {
	return f.Size, nil
}

// Rehearse implements endpoint.Host.
func (f *Fake) Rehearse(_ context.Context, _, target string, p libvirt.MigrateParams) error {
	if target != cmp.Or(f.Peer, TargetURI) {
		return fmt.Errorf("rehearsed to %q", target)
	}
	if f.Rehearsal == nil {
		return nil
	}
	return f.Rehearsal(p)
}

// Portable implements endpoint.Host.
func (f *Fake) Portable(context.Context, string) (string, error) { return f.Doc, nil }

// Accepts implements endpoint.Host.
func (f *Fake) Accepts(context.Context, string) error { return f.Refuses }

// Hostname implements endpoint.Host.
func (f *Fake) Hostname(context.Context) (string, error) { return f.Name, nil }

// Snapshots implements endpoint.Host.
func (f *Fake) Snapshots(context.Context, string) (libvirt.Snapshots, error) {
	return f.Kept, nil
}

// Network implements endpoint.Host.
func (f *Fake) Network(_ context.Context, name string) (libvirt.Network, error) {
	n, ok := f.Networks[name]
	if !ok {
		return n, libvirt.ErrNoNetwork
	}
	return n, nil
}

// Names implements endpoint.Host.
func (f *Fake) Names(_ context.Context, dir string) ([]string, error) {
	if f.Dirs == nil {
		return nil, libvirt.ErrUnsupported
	}
	return f.Dirs[dir], nil
}

// Text implements endpoint.Host.
func (f *Fake) Text(_ context.Context, file string, _ int) ([]byte, error) {
	if f.Texts == nil {
		return nil, libvirt.ErrUnsupported
	}
	return f.Texts[file], nil
}

// FreePages implements endpoint.Host.
func (f *Fake) FreePages(context.Context, uint64) (uint64, error) { return f.Pages, nil }

// DomainCapabilities implements endpoint.Host.
func (f *Fake) DomainCapabilities(context.Context, string, libvirt.Machine) (string, error) {
	return f.DomCaps, nil
}

// Room implements endpoint.Host.
func (f *Fake) Room(context.Context, string) (uint64, error) { return f.Space, nil }

// CreateImage implements endpoint.Host.
func (f *Fake) CreateImage(_ context.Context, image libvirt.Image) error {
	if f.Making != nil {
		f.Making(image.Path)
	}
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if f.CreateErr != nil && strings.HasSuffix(image.Path, ".img") {
		return f.CreateErr
	}
	if _, there := f.Files[image.Path]; there {
		return errors.New("storage volume exists already")
	}
	f.Files[image.Path] = fmt.Sprint(image.Capacity)
	return nil
}

// RemoveImage is strict as a real host is.
func (f *Fake) RemoveImage(_ context.Context, path string, mark libvirt.Mark) error {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if _, there := f.Files[path]; !there {
		return nil
	}
	if mark.Size == 0 || filepath.Dir(mark.Path) != filepath.Dir(path) || f.Files[mark.Path] != fmt.Sprint(mark.Size) {
		return libvirt.ErrForeign
	}
	delete(f.Files, path)
	return nil
}

// ReadImage implements endpoint.Host.
func (f *Fake) ReadImage(_ context.Context, path string, _ int) ([]byte, error) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	return []byte(f.Files[path]), nil
}

// DiskVisible implements endpoint.Host.
func (f *Fake) DiskVisible(_ context.Context, source libvirt.DiskSource) (libvirt.Visible, error) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if f.Files == nil {
		return f.Visible, nil
	}
	if _, there := f.Files[source.Path]; there {
		return libvirt.VisibleYes, nil
	}
	return libvirt.VisibleNo, nil
}

// Pair is a guest that Runs at the source, and a target with room for it.
type Pair struct{ Source, Target *Fake }

// NewPair makes one. Its migration takes some two seconds, in two passes.
func NewPair() *Pair {
	p := &Pair{
		Source: &Fake{URI: SourceURI, At: Runs("booted"), Doc: GuestXML, Caps: CapsXML("source"),
			Aborted: make(chan struct{}), Broken: make(chan struct{}, 1), GaugeErr: libvirt.ErrUnsupported,
			Free: 1 << 40},
		Target: &Fake{URI: TargetURI, Fails: libvirt.ErrNoDomain, Caps: CapsXML("target"), Free: 1 << 40,
			Visible: libvirt.VisibleYes, CPU: true, Name: "node2"},
	}
	p.Source.Migrate = func(context.Context) error { p.Copy(); p.Switchover(); return nil }
	return p
}

// Open connects to the end at a URI.
func (p *Pair) Open(_ context.Context, uri string) (endpoint.Host, error) {
	f := map[string]*Fake{p.Source.URI: p.Source, p.Target.URI: p.Target}[uri]
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if f.ConnectErr != nil {
		return nil, f.ConnectErr
	}
	return f, nil
}

// Migration emits the event MIGRATION.
func (p *Pair) Migration(status string) {
	p.Source.Emit("MIGRATION", `{"status":"`+status+`"}`)
}

// Copy is pre-copy: two passes in two seconds.
func (p *Pair) Copy() {
	p.Migration("setup")
	p.Migration("active")
	p.Target.Is(Stopped("migration"))
	for pass := 1; pass <= 2; pass++ {
		p.Source.Emit("MIGRATION_PASS", fmt.Sprintf(`{"pass":%d}`, pass))
		p.Source.SetJob(libvirt.JobStats{Active: true, Total: 512 << 20, Remaining: 1 << 20, Processed: 5 << 20,
			Rate: 100 << 20, Iteration: pass})
		time.Sleep(time.Second)
	}
}

// Halt stops the guest at the source: the pause begins.
func (p *Pair) Halt() {
	p.Source.Is(Stopped("migration"))
	p.Source.Emit("STOP", "")
	p.Migration("pre-switchover")
	p.Migration("device")
	time.Sleep(10 * time.Millisecond)
}

// Switchover is the pause, after which the guest runs at the target.
func (p *Pair) Switchover() {
	p.Halt()
	p.Migration("completed")
	time.Sleep(5 * time.Millisecond)
	p.Target.Is(Runs("migrated"))
	p.Target.Emit("RESUME", "")
	p.Source.SetJob(libvirt.JobStats{})
	p.Source.Answer(libvirt.ErrNoDomain)
	p.Source.Emit("SHUTDOWN", `{"guest":false,"reason":"host-signal"}`)
}

// Cancelled is how libvirt tidies up: the guest continues at the source, and the target has none.
func (p *Pair) Cancelled() {
	p.Migration("cancelled")
	p.Source.SetJob(libvirt.JobStats{})
	p.Source.Is(Runs("migration-canceled"))
	p.Target.Answer(libvirt.ErrNoDomain)
}

// Resolve knows the target, and each name that says itself where it leads.
func Resolve(_ context.Context, host string) ([]netip.Addr, error) {
	known := map[string]string{"node2": "192.0.2.2", "kvm-b": "192.0.2.2", "self": "127.0.1.1", "vip": "192.0.2.1"}
	if known[host] == "" {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.MustParseAddr(known[host])}, nil
}

// Own are the addresses of the source.
func Own() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} }
