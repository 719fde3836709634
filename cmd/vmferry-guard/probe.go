package main

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/notes"
)

// probeEvery is how often it is looked whether a guest of haresources is not noted on this node.
const probeEvery = 10 * time.Second

// probe has the agent note every guest that Heartbeat may run here, until ctx ends: the guard kills no process that is
// not noted, and a guest that the other node moves here runs before Heartbeat calls the agent.
func probe(ctx context.Context, managers []hbplugin.Cluster, store notes.Store, log logrus.FieldLogger) {
	noted := func(guest string) bool { _, err := store.Identities.Load(guest); return err == nil }
	said := ""
	for ; ctx.Err() == nil; _ = wait.For(ctx, probeEvery) {
		for _, m := range managers {
			h, ok := m.(*heartbeat.Client)
			if !ok {
				continue
			}
			if err := h.Probe(ctx, noted); err != nil && err.Error() != said {
				said = err.Error()
				log.WithError(err).Error("a guest that is moved here may not be known to the guard")
			}
		}
	}
}
