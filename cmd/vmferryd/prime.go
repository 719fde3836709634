package main

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/announce"
)

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
