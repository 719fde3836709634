package main

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/announcement"
	"github.com/vmferry/vmferry/resource/notes"
)

// announcer announces guests to the network, a few times in quick succession. What hinders it is
// logged, and fails nothing.
func announcer(log logrus.FieldLogger, runDir string) func(context.Context, notes.Expected) {
	return func(ctx context.Context, e notes.Expected) {
		if err := announcement.Once(ctx, log, runDir, e); err != nil {
			log.WithError(err).Warn("the guest is not announced to the network by this action")
		}
	}
}
