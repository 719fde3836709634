package client

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// testConn opens libvirt's own test driver, which keeps a host with one domain, "test", in
// the memory of the process.
func testConn(t *testing.T) *Conn {
	t.Helper()
	c, err := Open(t.Context(), "test:///default")
	if err != nil {
		if strings.Contains(err.Error(), missingLibrary) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

const guestXML = `<domain type='test'><name>fresh</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
<memory>1024</memory><os><type>hvm</type></os></domain>`

func TestLifecycle(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	if err := c.Create(ctx, guestXML); err != nil {
		t.Fatal(err)
	}
	got, err := c.Status(ctx, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	if got.State != libvirt.Running || got.Reason != "booted" || got.UUID != "11111111-2222-3333-4444-555555555555" ||
		got.Persistent || got.ID < 1 {
		t.Errorf("status of a fresh guest: %+v", got)
	}
	names, err := c.Active(ctx)
	if err != nil || !slices.Contains(names, "fresh") || !slices.Contains(names, "test") {
		t.Errorf("active = %q, %v", names, err)
	}
	if busy, err := c.Busy(ctx); err != nil || len(busy) > 0 {
		t.Errorf("busy = %q, %v", busy, err)
	}
	const uuid, other = "11111111-2222-3333-4444-555555555555", "21111111-2222-3333-4444-555555555555"
	if s, err := c.Status(ctx, libvirt.Ref("renamed", uuid)); err != nil || s.ID != got.ID {
		t.Errorf("status by its UUID: %+v, %v", s, err)
	}
	for _, act := range []func(context.Context, string) error{
		func(ctx context.Context, name string) error { _, err := c.Status(ctx, name); return err }, c.Destroy,
		func(ctx context.Context, name string) error { return c.Shutdown(ctx, name, "") },
	} {
		if err := act(ctx, libvirt.Ref("fresh", other)); !errors.Is(err, libvirt.ErrNoDomain) {
			t.Errorf("of another UUID: %v, want ErrNoDomain", err)
		}
	}
	if xml, err := c.XML(ctx, "fresh"); err != nil || !strings.Contains(xml, "<name>fresh</name>") {
		t.Errorf("XML = %q, %v", xml, err)
	}
	if err := c.Destroy(ctx, "fresh"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(ctx, "fresh"); !errors.Is(err, libvirt.ErrNoDomain) {
		t.Errorf("after destroy: %v, want ErrNoDomain", err)
	}
}

func TestCreateStartsDefined(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	xml, err := c.XML(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Shutdown(ctx, "test", "hope"); err == nil {
		t.Error("shut down by a mode that does not exist")
	}
	if err := c.Shutdown(ctx, "test", ""); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(ctx, "test"); err != nil || s.State != libvirt.ShutOff || s.ID != -1 || !s.Persistent {
		t.Fatalf("after shutdown: %+v, %v", s, err)
	}
	if err := c.Create(ctx, xml); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(ctx, "test"); err != nil || s.State != libvirt.Running || !s.Persistent {
		t.Errorf("after create: %+v, %v", s, err)
	}
}

func TestHostQuestions(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	if name, err := c.Hostname(ctx); err != nil || name == "" {
		t.Errorf("hostname = %q, %v", name, err)
	}
	if caps, err := c.Capabilities(ctx); err != nil || !strings.Contains(caps, "<capabilities>") {
		t.Errorf("capabilities = %.40q, %v", caps, err)
	}
	if free, err := c.FreeMemory(ctx); err != nil || free == 0 {
		t.Errorf("free memory = %d, %v", free, err)
	}
	if c.URI() != "test:///default" {
		t.Errorf("URI = %q", c.URI())
	}
}

func TestErrors(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	err := c.Destroy(ctx, "nobody")
	var e *libvirt.Error
	if !errors.As(err, &e) || !errors.Is(err, libvirt.ErrNoDomain) || e.Domain != "nobody" || e.URI != c.URI() ||
		e.Code != int(lv.ERR_NO_DOMAIN) {
		t.Errorf("no such domain: %#v", err)
	}
	if _, err := c.Watch(ctx, "test", func(libvirt.Event) {}); !errors.Is(err, libvirt.ErrUnsupported) {
		t.Errorf("QEMU's events from the test driver: %v, want ErrUnsupported", err)
	}
	if err := c.MigrateToURI3(ctx, "test", "test:///default", libvirt.MigrateParams{AutoConverge: true}); err == nil {
		t.Error("the test driver migrated")
	}
	if err := c.Resume(ctx, "test"); err == nil {
		t.Error("a running domain was resumed")
	}
	if err := c.Create(ctx, "<domain"); err == nil {
		t.Error("broken XML was accepted")
	}
}

func TestCloseTwiceAndUse(t *testing.T) {
	c := testConn(t)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Status(t.Context(), "test"); !errors.Is(err, libvirt.ErrConnect) {
		t.Errorf("use after close: %v, want ErrConnect", err)
	}
}

// deaf listens on a socket, accepts, and never answers: a blocked libvirtd.
func deaf(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "deaf.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return "qemu+unix:///system?socket=" + path
}

func TestOpenReturnsAtDeadline(t *testing.T) {
	testConn(t) // the library is there
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := Open(ctx, deaf(t))
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("returned after %v, deadline was 150ms", took)
	}
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, libvirt.ErrConnect) {
		t.Errorf("error = %v", err)
	}
}

func TestCallReturnsAtDeadlineAndClosesLater(t *testing.T) {
	c := testConn(t)
	ctx, cancel := context.WithCancel(t.Context())
	entered, release, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		_, err := call(ctx, c.session, "hang", "test", func() (int, error) {
			close(entered)
			<-release
			// The connection must still be there although Close was called.
			_, err := c.lv.GetHostname()
			if err != nil {
				t.Error(err)
			}
			close(left)
			return 1, nil
		})
		failed <- err
	}()
	<-entered
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled call: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	close(release)
	<-left
}

func TestOpenErrors(t *testing.T) {
	testConn(t)
	for _, uri := range []string{"qemu+unix:///system?socket=/nonexistent/sock", "nonsense://x/y",
		"qemu+tcp://127.0.0.1:1/system"} {
		_, err := Open(t.Context(), uri)
		if !errors.Is(err, libvirt.ErrConnect) || !strings.Contains(err.Error(), uri) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, "test:///default"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the start: %v", err)
	}
}

func TestWrap(t *testing.T) {
	cases := []struct {
		name string
		op   string
		err  lv.Error
		kind error
		text string
	}{
		{"no domain", "status", lv.Error{Code: lv.ERR_NO_DOMAIN, Domain: lv.FROM_QEMU, Message: "Domain not found"},
			libvirt.ErrNoDomain, "Domain not found"},
		{"no domain while connecting is no connection", opOpen, lv.Error{Code: lv.ERR_SYSTEM_ERROR, Message: "refused"},
			libvirt.ErrConnect, "refused"},
		{"broken pipe", "status", lv.Error{Code: lv.ERR_INTERNAL_ERROR, Domain: lv.FROM_RPC,
			Message: "client socket is closed"}, libvirt.ErrConnect, "client socket"},
		{"the daemon's own system error is its business", "create",
			lv.Error{Code: lv.ERR_SYSTEM_ERROR, Domain: lv.FROM_QEMU, Message: "no bridge"}, nil, "no bridge"},
		{"no support", "watch", lv.Error{Code: lv.ERR_NO_SUPPORT, Message: "x"}, libvirt.ErrUnsupported, "x"},
		{"no library, first", opOpen, lv.Error{Code: lv.ERR_INTERNAL_ERROR,
			Message: "libvirt.so.0: cannot open shared object file: No such file or directory"}, libvirt.ErrConnect,
			missingLibrary},
		{"no library, later", opOpen, lv.Error{Code: lv.ERR_INTERNAL_ERROR, Message: "Failed to open libvirt.so.0"},
			libvirt.ErrConnect, missingLibrary},
		{"old library", "x", lv.Error{Code: lv.ERR_INTERNAL_ERROR,
			Message: "/lib/libvirt.so.0: undefined symbol: virNew"}, libvirt.ErrUnsupported, "virNew"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := wrap(c.op, "qemu:///system", "g", c.err)
			for _, kind := range []error{libvirt.ErrNoDomain, libvirt.ErrConnect, libvirt.ErrUnsupported} {
				if errors.Is(err, kind) != (kind == c.kind) {
					t.Errorf("errors.Is(%v) = %v", kind, kind != c.kind)
				}
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("text %q lacks %q", err, c.text)
			}
		})
	}
}

func TestRetryLoad(t *testing.T) {
	calls := 0
	err := retryLoad(func() error {
		if calls++; calls == 1 {
			return lv.Error{Code: lv.ERR_INTERNAL_ERROR, Message: "Failed to load virDomainGetState"}
		}
		return nil
	})
	if err != nil || calls != 2 {
		t.Errorf("a collision in the loader: %v after %d calls", err, calls)
	}
	calls = 0
	if err := retryLoad(func() error { calls++; return lv.Error{Code: lv.ERR_NO_DOMAIN} }); err == nil || calls != 1 {
		t.Errorf("an honest error: %v after %d calls", err, calls)
	}
}

func TestWords(t *testing.T) {
	cases := []struct {
		state  libvirt.State
		reason lv.DomainPausedReason
		want   string
	}{
		{libvirt.Paused, lv.DOMAIN_PAUSED_IOERROR, "ioerror"},
		{libvirt.Paused, lv.DOMAIN_PAUSED_MIGRATION, "migration"},
		{libvirt.Paused, lv.DOMAIN_PAUSED_POSTCOPY, "postcopy"},
		{libvirt.Paused, lv.DOMAIN_PAUSED_USER, "user"},
		{libvirt.Paused, lv.DOMAIN_PAUSED_API_ERROR, "api-error"},
		{libvirt.Running, lv.DomainPausedReason(lv.DOMAIN_RUNNING_MIGRATED), "migrated"},
		{libvirt.Running, lv.DomainPausedReason(lv.DOMAIN_RUNNING_POSTCOPY_FAILED), "postcopy-failed"},
		{libvirt.ShutOff, lv.DomainPausedReason(lv.DOMAIN_SHUTOFF_DAEMON), "daemon"},
		{libvirt.Running, 99, "unknown"}, {libvirt.Running, -1, "unknown"}, {libvirt.State(77), 0, "unknown"},
	}
	for _, c := range cases {
		if got := libvirt.ReasonWord(c.state, int(c.reason)); got != c.want {
			t.Errorf("reason %d of %v = %q, want %q", c.reason, c.state, got, c.want)
		}
	}
	if libvirt.Paused.String() != "paused" || libvirt.State(77).String() != "state 77" || libvirt.ShutOff.Active() ||
		!libvirt.Paused.Active() {
		t.Error("states are misnamed")
	}
}

func TestJobStatsOf(t *testing.T) {
	got := jobStatsOf(&lv.DomainJobInfo{Type: lv.DOMAIN_JOB_UNBOUNDED, TimeElapsed: 1500, MemTotal: 1 << 30,
		MemProcessed: 5, MemRemaining: 6,
		MemBps: 7, MemDirtyRate: 10, MemPageSize: 4096, MemIteration: 3, AutoConvergeThrottle: 20, Downtime: 31})
	want := libvirt.JobStats{Active: true, Elapsed: 1500 * time.Millisecond, Total: 1 << 30, Processed: 5, Remaining: 6, Rate: 7,
		DirtyRate: 40960, Iteration: 3, Throttle: 20, Downtime: 31 * time.Millisecond}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if jobStatsOf(&lv.DomainJobInfo{Type: lv.DOMAIN_JOB_COMPLETED}).Active {
		t.Error("a completed job is active")
	}
}

// libvirt's test driver has checkpoints, and no backups.
func TestCheckpoints(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	if names, err := c.CheckpointNames(ctx, "test"); err != nil || len(names) > 0 {
		t.Errorf("checkpoints: %q, %v", names, err)
	}
	if err := c.DeleteCheckpoint(ctx, "test", "vmferry-1-1", false); err != nil {
		t.Errorf("delete one that is not there: %v", err)
	}
	if err := c.BackupBegin(ctx, "test", libvirt.Backup{}); !errors.Is(err, libvirt.ErrUnsupported) {
		t.Errorf("backup: %v, want ErrUnsupported", err)
	}
}

func TestCheckpointErrors(t *testing.T) {
	for _, code := range []lv.ErrorNumber{lv.ERR_CHECKPOINT_INCONSISTENT, lv.ERR_NO_DOMAIN_CHECKPOINT} {
		if err := wrap("redefine", "", "", lv.Error{Code: code}); !errors.Is(err, libvirt.ErrCheckpoint) {
			t.Errorf("%d: %v", code, err)
		}
	}
}
