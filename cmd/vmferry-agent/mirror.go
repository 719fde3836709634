package main

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/mirrord"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/replica"
	"github.com/vmferry/vmferry/migrate/mirror/source"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

func mirrorOf(env param.Environ, run command.Runner, from caller) resource.Mirror {
	store := mirror.Store{Dir: mirror.DefaultDir}
	return resource.Mirror{
		Store:  store,
		Engine: &replica.Engine{Store: store, Run: run.Explained, Now: time.Now, Room: replica.Room},
		IsDead: from.isDead,
		HandOver: func(ctx context.Context, node, guest, uuid string, log logrus.FieldLogger) (handed bool, err error) {
			err = withSource(ctx, env, store, run, func(s *source.Source) (err error) {
				q := source.Request{Guest: guest, UUID: uuid, Node: env.Node, Freeze: env.Params.Mirror.Freeze}
				handed, err = mirrord.HandOver(ctx, env.Params, node, s, q, run, log)
				return err
			})
			return handed, err
		},
		Fold: func(ctx context.Context, guest, uuid string) error {
			return withSource(ctx, env, store, run, func(s *source.Source) error { return s.Fold(ctx, guest, uuid) })
		},
		Peer: func(ctx context.Context, node, guest, uuid string) (*mirror.Manifest, error) {
			return mirrord.Manifest(ctx, env.Params, env.Node, node, guest, uuid, run)
		},
		Daemon: func(ctx context.Context, verb, resource string) error {
			_, err := mirrord.Ask(ctx, mirrord.Socket, mirrord.Request{Verb: mirrord.Verb(verb), Resource: resource})
			return err
		},
	}
}

// withSource calls f with what makes rounds of this node's guests.
func withSource(ctx context.Context, env param.Environ, store mirror.Store, run command.Runner,
	f func(*source.Source) error) error {
	conn, err := client.Open(ctx, env.Params.Hypervisor)
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(&source.Source{Hypervisor: conn, Store: store, Dir: notes.DefaultRunDir + "/mirror", Run: run})
}
