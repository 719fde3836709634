package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/guestprobe"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/relay"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/hostproc/local"
)

// The connections to libvirt: the agent's, and to one end of a migration.
var (
	open     = client.Opener(func(c *client.Conn) resource.Hypervisor { return c })
	openHost = client.Opener(func(c *client.Conn) migrate.Host { return c })
)

// migrator makes the real move and appends its record, of a failed one too. step, where
// not nil, is told each of its phases. A guest that leaves this node asks queue for its turn.
func migrator(log logrus.FieldLogger, sees local.Processes, stateDir string, queue migrate.Queue,
	step func(string)) func(context.Context, resource.Move) error {
	return func(ctx context.Context, m resource.Move) error {
		deps := migrate.Deps{Log: log, Open: openHost, Links: filepath.Join(stateDir, history.LinksFile),
			Guests: filepath.Join(stateDir, history.GuestsFile)}
		if !m.Fetch { // the witness sees the source
			deps.Queue = queue
			local.SetDeps(&deps, sees)
		}
		if m.Relay {
			deps.Relay = func(guest, domainXML string) (migrate.Relay, error) {
				return relay.Open(guest, domainXML, log)
			}
		}
		var v *guestprobe.Probe
		req := m.Request
		req.Progress = func(p migrate.Progress) {
			if v == nil && len(m.Watch) > 0 &&
				p.Phase != migrate.PhaseSlot { // a guest that waits for its turn needs no probe
				v = guestprobe.Begin(ctx, m.Watch)
			}
			if step != nil {
				step(phase(p))
			}
		}
		record, err := migrate.Move(ctx, req, deps)
		if v != nil {
			record.Judge(blackouts(ctx, log, v, record.Outcome == migrate.Moved))
		}
		learned := learn(deps, record)
		keepRecord(log, stateDir, record)
		select {
		case lerr := <-learned:
			if lerr != nil {
				log.WithError(lerr).Warn("what the migration taught is lost")
			}
		case <-time.After(learnTime): // the disk gives no answer, and the cluster manager waits for one
			log.Warn("what the migration taught is not on the disk yet, which gives no answer")
		}
		return err
	}
}

// learnTime is how much longer than the record's what was learned may take.
const learnTime = 500 * time.Millisecond

// learn learns of the link and the guest beside what follows: the disk may give no answer.
func learn(deps migrate.Deps, record migrate.Record) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- errors.Join(history.LearnLink(deps.Links, record), history.LearnGuest(deps.Guests, record))
	}()
	return done
}

// blackouts ends a vigil and says what it saw. What goes wrong with it is no fault of the migration.
func blackouts(ctx context.Context, log logrus.FieldLogger, v *guestprobe.Probe, moved bool) []migrate.Blackout {
	seen, err := v.End(ctx, moved)
	if err != nil {
		log.WithError(err).Warn("the blackout of this migration is not measured")
	}
	for _, target := range seen.Mute {
		log.Warnf("watch: %s never answered: is the echo service of blackout(1) running in the guest", target)
	}
	for _, b := range seen.Blackouts {
		log.Infof("clients of %s were without an answer for %.1f ms (give or take %.1f ms)", b.Target, b.MS, b.ErrorMS)
	}
	return seen.Blackouts
}

// keepRecord appends the record. The guest is where it is, whatever becomes of that.
func keepRecord(log logrus.FieldLogger, stateDir string, record migrate.Record) {
	if err := history.AppendRecord(filepath.Join(stateDir, history.RecordsFile), record); err != nil {
		log.WithError(err).Warn("the guest's record is lost: make the state directory writable")
	}
}
