package migrate

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
	"github.com/vmferry/vmferry/migrate/preflight"
)

func TestMemoryGoesWhereLibvirtIsReached(t *testing.T) {
	for _, c := range []struct {
		name, hostname, target, source, given string
		tunnelled                             bool
		want                                  string
		notes                                 int
	}{
		{name: "name known", hostname: "node2"},
		{name: "name unknown", hostname: "kvm-b.site", want: "tcp://node2", notes: 1},
		{name: "name is this node's", hostname: "vip", want: "tcp://node2", notes: 1},
		{name: "name is loopback", hostname: "self", want: "tcp://node2", notes: 1},
		{name: "address given", hostname: "kvm-b.site", given: "tcp://10.0.0.2", want: "tcp://10.0.0.2"},
		{name: "tunnelled", hostname: "kvm-b.site", tunnelled: true},
		{name: "source is another node", hostname: "kvm-b.site", source: "qemu+tcp://node1/system"},
		{name: "by address", hostname: "kvm-b.site", target: "qemu+tcp://[2001:db8::2]/system",
			want: "tcp://[2001:db8::2]", notes: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Target.Name, p.Target.URI, p.req.TargetURI = c.hostname, "qemu+tcp://node2/system", "qemu+tcp://node2/system"
				if c.target != "" {
					p.Target.URI, p.req.TargetURI = c.target, c.target
				}
				if c.source != "" {
					p.Source.URI, p.req.SourceURI = c.source, c.source
				}
				p.Source.Peer, p.req.MigrateURI, p.req.Options.Tunnelled = p.Target.URI, c.given, c.tunnelled
				rec, err := Move(t.Context(), p.req, p.deps)
				if err != nil || p.Source.Params[0].URI != c.want || len(rec.Notes) != c.notes {
					t.Errorf("sent to %q, want %q; notes %q, %v", p.Source.Params[0].URI, c.want, rec.Notes, err)
				}
			})
		})
	}
}

func TestNoNameLeadsToTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.Target.Name = "kvm-b.site"
		p.deps.Resolve = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
		_, err := Move(t.Context(), p.req, p.deps)
		var r *preflight.Refusal
		if !errors.As(err, &r) || r.Check != preflight.CheckAddress || !strings.Contains(r.Hint, "migrateuri=tcp://") ||
			!MayTryNext(err) {
			t.Errorf("%v", err)
		}
	})
}

// A name server that gives no answer takes away no address that is known without it.
func TestMuteNameServer(t *testing.T) {
	mute := func(ctx context.Context, host string) ([]netip.Addr, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if host == "node2" {
			return endpointtest.Resolve(ctx, host)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, c := range []struct{ given, want string }{{"", "tcp://node2"}, {"tcp://node2.site", "tcp://node2.site"}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			p.Target.URI, p.req.TargetURI = "qemu+tcp://node2/system", "qemu+tcp://node2/system"
			p.Source.Peer, p.Target.Name, p.deps.Resolve, p.req.MigrateURI = p.Target.URI, "node2.site", mute, c.given
			rec, err := Move(t.Context(), p.req, p.deps)
			if err != nil || p.Source.Params[0].URI != c.want || len(rec.Notes) != 1 {
				t.Errorf("given %q: notes %q, %v", c.given, rec.Notes, err)
			}
		})
	}
}
