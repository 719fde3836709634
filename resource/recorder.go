package resource

import (
	"context"
	"io/fs"
	"os"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
)

// recorder writes records of guests that left the node, or came to it, otherwise than by a migration.
type recorder struct {
	keep  func(record.Record) // nil where nobody does
	guest *observe.Identity   // as the action knows it by now
	uri   string              // the hypervisor's
	node  string
}

// ended writes the record of a stop that took the guest off its node; size is that of a saved state, in bytes.
func (r recorder) ended(began time.Time, why notes.Failure, rungs []record.RungTime, size uint64) {
	rec := r.record(began)
	rec.To, rec.Outcome, rec.Rungs, rec.Error, rec.Transferred = why.Peer, record.Ended, rungs, why.Why, size
	rec.Rung = rungs[len(rungs)-1].Rung
	r.keep(rec)
}

// restored writes the record of a guest that was brought back from file.
func (r recorder) restored(file string, began time.Time) {
	if r.keep == nil {
		return
	}
	rec := r.record(began)
	rec.From, rec.To, rec.Outcome, rec.Rung = file, r.node, record.Restored, ladder.Save
	rec.Steps = []record.Step{{Name: "restore", Begin: began, MS: rec.DurationMS}}
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	if info, err := timelyValue(ctx, func() (fs.FileInfo, error) { return os.Stat(file) }); err == nil {
		rec.Notes = []string{"the guest was saved until " + info.ModTime().UTC().Format(time.RFC3339)}
	}
	r.keep(rec)
}

func (r recorder) record(began time.Time) record.Record {
	now := time.Now()
	return record.Record{
		Schema: record.Schema, Guest: r.guest.Name, UUID: r.guest.UUID, From: r.uri,
		Started: began, Ended: now, DurationMS: float64(now.Sub(began).Microseconds()) / 1000, Steps: []record.Step{},
	}
}
