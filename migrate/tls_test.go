package migrate

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

// encrypted is a pair that moves with TLS, and has the certificates for it. The source is another node's libvirt, so
// that this node's files are not looked at.
func encrypted(t *testing.T) *pair {
	p := newPair(t)
	p.Encrypt(t)
	p.req.SourceURI, p.req.Options.TLS = p.Source.URI, true
	p.deps.Conf = filepath.Join(t.TempDir(), "qemu.conf")
	return p
}

// However often and in whatever way a migration is begun, it is encrypted where that was requested.
func TestMoveNeverFallsBackToPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := encrypted(t)
		p.req.PostCopy = true
		tries := 0
		p.Source.Rehearsal = func(params libvirt.MigrateParams) error {
			if !params.TLS {
				t.Error("rehearsed without TLS")
			}
			if params.Managed {
				return nil
			}
			return says("Host key verification failed")
		}
		p.Source.Migrate = func(context.Context) error {
			if tries++; tries == 1 {
				return says("post-copy is not supported")
			}
			p.Copy()
			p.Switchover()
			return nil
		}
		rec, err := Move(t.Context(), p.req, p.deps)
		if err != nil || tries != 2 || !rec.Encrypted {
			t.Errorf("%d tries, encrypted on record: %t, %v", tries, rec.Encrypted, err)
		}
		for i, params := range p.Source.Params {
			if !params.TLS || !params.Managed {
				t.Errorf("try %d: %+v", i, params)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		if rec, err := Move(t.Context(), p.req, p.deps); err != nil || rec.Encrypted {
			t.Errorf("a plain move is on record as encrypted: %t, %v", rec.Encrypted, err)
		}
	})
}

// Of a migration that another has begun nobody knows whether it is encrypted.
func TestAdoptedMoveIsNotOnRecordAsEncrypted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := encrypted(t)
		p.req.Adopt = true
		p.Source.SetJob(libvirt.JobStats{Active: true, Total: 512 << 20, Processed: 1, Iteration: 1})
		go func() {
			time.Sleep(3 * time.Second)
			p.Switchover()
		}()
		if rec, err := Move(t.Context(), p.req, p.deps); err != nil || rec.Outcome != record.Moved || rec.Encrypted {
			t.Errorf("outcome %q, encrypted on record: %t, %v", rec.Outcome, rec.Encrypted, err)
		}
	})
}

func TestTunnelledWithTLSIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := encrypted(t)
		p.req.Options.Tunnelled = true
		_, err := Move(t.Context(), p.req, p.deps)
		var r *preflight.Refusal
		if !errors.As(err, &r) || r.Check != preflight.CheckRequest || len(p.Source.Params) > 0 {
			t.Errorf("%v, begun %d times", err, len(p.Source.Params))
		}
	})
}
