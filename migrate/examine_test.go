package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

const bridgeCard = `<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br77'/></interface>`

// spoilAll lets much be wrong with the target.
func spoilAll(p *pair) {
	p.Source.Doc = strings.Replace(guestDoc, "</devices>", bridgeCard+"</devices>", 1)
	p.Target.Dirs = map[string][]string{"/sys/class/net": {"lo", "br0"}}
	p.Target.Free, p.req.Memory = 0, preflight.MemoryRefuse
	p.Target.Name = "nowhere"
	p.Source.Rehearsal = func(libvirt.MigrateParams) error {
		return &libvirt.Error{Op: "rehearse", Message: "cannot migrate domain with 1 snapshots"}
	}
	p.Source.Kept = libvirt.Snapshots{Snapshots: []string{"before upgrade"}}
}

func TestExamineGoesOnAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Migrate = func(context.Context) error { t.Error("migrated"); return nil }
		spoilAll(p)
		x, err := Examine(t.Context(), p.req, p.deps)
		var checks []string
		for _, r := range x.Refusals {
			checks = append(checks, r.Check)
		}
		want := []string{preflight.CheckMemory, preflight.CheckNetwork, preflight.CheckAddress, preflight.CheckLibvirt}
		if err != nil || fmt.Sprint(checks) != fmt.Sprint(want) {
			t.Fatalf("refused by %v, want %v; %v", checks, want, err)
		}
		if hint := x.Refusals[3].Hint; !strings.Contains(hint, "virsh snapshot-delete --metadata web 'before upgrade'") {
			t.Errorf("hint %q", hint)
		}
		if p.Source.Closed != 1 || p.Target.Closed != 1 || len(p.Source.Limits)+len(p.Source.Watchers) != 0 {
			t.Error("connections were left, or something was begun")
		}
		_, err = Move(t.Context(), p.req, p.deps)
		var first *preflight.Refusal
		if !errors.As(err, &first) || first.Check != preflight.CheckMemory {
			t.Errorf("the move was refused by %v", err)
		}
	})
}

func TestExamineSaysWhatGoesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Doc = strings.Replace(guestDoc, "<source file", "<driver name='qemu' type='raw'/><source file", 1)
		p.Source.Doc = strings.Replace(p.Source.Doc, "/shared/", t.TempDir()+"/", 1) // its file system is requested
		p.req.Disks, p.Target.Visible = preflight.DisksAuto, libvirt.VisibleNo
		p.Source.Size, p.Target.Space = libvirt.DiskSize{Capacity: 1 << 30, Allocated: 3 << 20}, 1<<40
		x, err := Examine(t.Context(), p.req, p.deps)
		if err != nil || len(x.Refusals) != 0 || fmt.Sprint(x.With) != "[disk vda (3 MiB) is copied]" {
			t.Errorf("%+v, %v", x, err)
		}
	})
}

func TestCheckpointsStayBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.Kept = libvirt.Snapshots{Checkpoints: []string{"daily"}}
		x, err := Examine(t.Context(), p.req, p.deps)
		if err != nil || len(x.With) != 1 || !strings.Contains(x.With[0], `"daily"`) || len(x.Notes) != 0 {
			t.Errorf("%+v, %v", x, err)
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || len(rec.Notes) != 1 {
			t.Errorf("notes %q, %v", rec.Notes, err)
		}
	})
}

func TestExamineOfNoGuest(t *testing.T) {
	for name, spoil := range map[string]func(p *pair){
		"nowhere":       func(p *pair) { p.Source.Fails = libvirt.ErrNoDomain },
		"at the target": func(p *pair) { p.Source.Fails = libvirt.ErrNoDomain; p.Target.Is(runs("migrated")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				spoil(p)
				if x, err := Examine(t.Context(), p.req, p.deps); err == nil || len(x.Refusals) != 0 {
					t.Errorf("%+v, %v", x, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Examine(ctx, p.req, p.deps); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// The target that is dead, or that has the guest's own libvirt, is one refusal and not many.
func TestExamineStopsWhereNothingMoreCanBeAsked(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p *pair)
		check string
	}{
		{"target dead", func(p *pair) { p.Target.ConnectErr = libvirt.ErrConnect }, preflight.CheckTarget},
		{"target silent", func(p *pair) { p.Target.Fails = libvirt.ErrConnect }, preflight.CheckTarget},
		{"source dead", func(p *pair) { p.Source.ConnectErr = libvirt.ErrConnect }, preflight.CheckSource},
		{"same host", func(p *pair) { p.Target.Caps = endpointtest.CapsXML("source"); p.Target.Is(runs("booted")) },
			preflight.CheckSameHost},
		{"unknown mode", func(p *pair) { p.req.Disks = "most" }, preflight.CheckRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				c.spoil(p)
				x, err := Examine(t.Context(), p.req, p.deps)
				if err != nil || len(x.Refusals) != 1 || x.Refusals[0].Check != c.check {
					t.Errorf("%v, %v", x.Refusals, err)
				}
			})
		})
	}
}

// TestPreflightOfAnotherIsNoMigration: a rehearsal is a job of the guest for a moment.
func TestPreflightOfAnotherIsNoMigration(t *testing.T) {
	for _, c := range []struct {
		name string
		ends time.Duration
		want record.Outcome
	}{
		{"a rehearsal", 300 * time.Millisecond, record.Moved},
		{"a migration that sets up", time.Hour, record.Stayed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				began := time.Now()
				p.deps.Open = func(ctx context.Context, uri string) (endpoint.Host, error) {
					h, err := p.Open(ctx, uri)
					return youngJob{h, began.Add(c.ends)}, err
				}
				if rec, err := Move(t.Context(), p.req, p.deps); rec.Outcome != c.want {
					t.Errorf("outcome %q, %v", rec.Outcome, err)
				}
			})
		})
	}
}

// youngJob has a job that has sent nothing, until it ends.
type youngJob struct {
	endpoint.Host
	ends time.Time
}

func (y youngJob) JobStats(ctx context.Context, guest string) (libvirt.JobStats, error) {
	if time.Now().Before(y.ends) {
		return libvirt.JobStats{Active: true}, nil
	}
	return y.Host.JobStats(ctx, guest)
}

// While a backup of the guest is under way libvirt lets a rehearsal wait for it.
func TestExamineDuringAnotherJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Source.SetJob(libvirt.JobStats{Active: true, Total: 1 << 30, Processed: 1 << 20})
		p.Source.Rehearsal = func(libvirt.MigrateParams) error {
			return &libvirt.Error{Op: "rehearse", Message: "no answer before the deadline", Cause: context.DeadlineExceeded}
		}
		x, err := Examine(t.Context(), p.req, p.deps)
		if err != nil || len(x.Refusals) != 1 || x.Refusals[0].Check != preflight.CheckJob {
			t.Errorf("%v, %v", x.Refusals, err)
		}
	})
}
