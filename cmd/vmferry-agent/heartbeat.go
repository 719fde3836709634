package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/heartbeat/script"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocflog"
)

const (
	// heartbeatUnit is Heartbeat's unit of systemd's.
	heartbeatUnit = "heartbeat.service"
	// heartbeatConf is Heartbeat's configuration.
	heartbeatConf = "/etc/ha.d/ha.cf"
	// heartbeatAsk bounds a question to systemd or Heartbeat.
	heartbeatAsk = 10 * time.Second
	// heartbeatDeadtime is Heartbeat's default (ha.cf), and deadtimeMargin what is added to any.
	heartbeatDeadtime = 30 * time.Second
	deadtimeMargin    = time.Second
)

// runForHeartbeat is run for the program under the name of Heartbeat's resource script.
func runForHeartbeat(ctx context.Context, args, environ []string, stdout, stderr io.Writer) ocf.ExitCode {
	manager := &heartbeat.Client{}
	return script.Script{
		Act: func(ctx context.Context, action string, environ []string) error {
			return act(ctx, action, environ, stderr, caller{peers: manager.Nodes, leaving: isEmptied, fetch: true,
				isDead: func(ctx context.Context, node string) (dead, fenced bool) {
					alive, err := manager.Alive(ctx, node)
					conf, _ := os.ReadFile(heartbeatConf)
					return err == nil && !alive, heartbeat.Fences(string(conf))
				}})
		},
		Peers:    manager.Peers,
		Leaving:  isLeaving,
		Deadtime: func(ctx context.Context) time.Duration { return deadtimeOf(ctx, manager) },
		Logger: func(environ []string, instance string) logrus.FieldLogger {
			return ocflog.New(ocflog.Call{Environ: environ, Instance: instance, PID: os.Getpid()}, stderr)
		},
		Stdout: stdout, Stderr: stderr,
		RunDir: ocf.Variable(environ, "VMFERRY_RUN_DIR", notes.DefaultRunDir),
	}.Run(ctx, args, environ)
}

// isEmptied is the answer whether Heartbeat empties this node: it stops a guest for no other reason.
func isEmptied(context.Context) (bool, error) { return true, nil }

// isLeaving asks systemd whether Heartbeat is being stopped on this node. Where that is not known,
// it is not: that is so where Heartbeat is no unit of systemd's.
func isLeaving(ctx context.Context) (since time.Time, leaving bool) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatAsk)
	defer cancel()
	since, leaving, err := logind.System{}.Deactivating(ctx, heartbeatUnit)
	return since, err == nil && leaving
}

func deadtimeOf(ctx context.Context, manager *heartbeat.Client) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, heartbeatAsk)
	defer cancel()
	dead, err := manager.Deadtime(ctx)
	if err != nil {
		dead = heartbeatDeadtime
	}
	return dead + deadtimeMargin
}
