package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

// announceTask tells the network where guests are as soon as they run here (package
// migrate/announce). Where it cannot, it says so and the daemon lives on: the agent's
// actions announce as well, only later.
type announceTask struct {
	dir string // of the agent's notes
	log logrus.FieldLogger
}

func (t announceTask) Run(ctx context.Context) error {
	socket, err := announce.Open()
	if err != nil {
		t.log.WithError(err).Error("guests are announced by the agent alone, which takes longer")
		<-ctx.Done()
		return nil
	}
	defer func() { _ = socket.Close() }()
	w := &announce.Watcher{
		Announcer: announce.Announcer{Send: socket.Send, Log: t.log,
			Peers: (&ring.Reader{Also: t.migrationHosts}).Addresses},
		Dial:   primed(ctx, t.log, client.Opener(func(c *client.Conn) prober { return c })),
		Guests: t.guests,
		Begun:  t.begun,
	}
	w.Run(ctx)
	return nil
}

// migrationHosts are the names by which migrations reach a node.
func (t announceTask) migrationHosts(node string) []string {
	expected, _ := notes.Open(t.dir, "").Expected.All() // the watcher reports the error
	var hosts []string
	for _, n := range expected {
		hosts = append(hosts, n.MigrationHost(node))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// begun tells the agent's action that brought a guest here that it is announced.
func (t announceTask) begun(g announce.Guest) {
	if err := notes.Open(t.dir, "").Announced.Save(g.Resource, notes.Announced{At: hostproc.Uptime()}); err != nil {
		t.log.WithError(err).Warn("the agent announces the guest once more, which takes it a moment: make the " +
			"state directory writable")
	}
}

// guests are those that the agent has met on this node, also in a probe. One whose setting cannot
// be read, as that of a newer agent, is announced with what can be found out.
func (t announceTask) guests() ([]announce.Guest, error) {
	expected, err := notes.Open(t.dir, "").Expected.All()
	guests := make([]announce.Guest, 0, len(expected))
	for _, n := range expected {
		setting, perr := announce.ParseSetting(n.Announce)
		if perr != nil {
			err = errors.Join(err, fmt.Errorf("resource %s: taking announce=auto: %w", n.Resource, perr))
		}
		guests = append(guests, announce.Guest{Name: n.Guest, URI: n.URI, Setting: setting, Resource: n.Resource})
	}
	return guests, err
}

// primeTime bounds one question that primes a libvirt: on a node whose processors are taken it was seen to need 11 s.
const primeTime = 2 * time.Minute

// prober is a connection to a libvirt that can be asked what its host can run; client.Conn is one.
type prober interface {
	announce.Conn
	Capabilities(ctx context.Context) (string, error)
}

// primed is dial, and after the first connection to each libvirt asks it once what its host can run, over a connection
// of its own. libvirt starts each of its emulators for the answer and keeps it (/var/cache/libvirt/qemu/capabilities):
// on a new node the first migration to it or the first start after a crash would wait for that.
func primed(
	ctx context.Context, log logrus.FieldLogger, dial func(context.Context, string) (prober, error),
) func(context.Context, string) (announce.Conn, error) {
	var mu sync.Mutex
	done := map[string]bool{}
	return func(opening context.Context, uri string) (announce.Conn, error) {
		conn, err := dial(opening, uri)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if !done[uri] {
			done[uri] = true
			go func() {
				if prime(ctx, log.WithField("uri", uri), uri, dial) {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				delete(done, uri) // the next connection tries again
			}()
		}
		return conn, nil
	}
}

// prime asks one libvirt, and reports whether it answered. What goes wrong costs the first guest its time, and no more.
func prime(
	ctx context.Context, log logrus.FieldLogger, uri string, dial func(context.Context, string) (prober, error),
) bool {
	ctx, cancel := context.WithTimeout(ctx, primeTime)
	defer cancel()
	conn, err := dial(ctx, uri)
	if err == nil {
		defer func() { _ = conn.Close() }()
		_, err = conn.Capabilities(ctx)
	}
	if err != nil {
		log.WithError(err).Debug("what the host can run is not asked before it is needed")
	}
	return err == nil
}
