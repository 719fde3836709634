package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/announcement"
	"github.com/vmferry/vmferry/resource/notes"
)

// announceTime bounds the announcements of all guests.
const announceTime = 30 * time.Second

// runAnnounce announces the guests in a process of its own.
func runAnnounce(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	if out, err := runSelf(bounded, "--announce"); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// asAnnouncer is that process.
func asAnnouncer(ctx context.Context, _ options, log *logrus.Logger) error {
	store := notes.Open(notes.DefaultRunDir, notes.DefaultStateDir)
	here, err := store.Guests.All()
	if err != nil {
		return err
	}
	expected, err := store.Expected.All()
	runs := map[string]bool{}
	for _, g := range here {
		runs[g.Resource] = true
	}
	var all sync.WaitGroup
	errs := make([]error, len(expected))
	for i, e := range expected {
		if runs[e.Resource] {
			all.Go(func() { errs[i] = announcement.Once(ctx, log, notes.DefaultRunDir, e) })
		}
	}
	all.Wait()
	return errors.Join(append(errs, err)...)
}
