package mirrord

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/resource/agentd/socket"
)

// Socket is where the daemon listens.
const Socket = "/run/vmferry/mirror.sock"

const (
	holdTime  = 15 * time.Minute // after which rounds go on, though nobody has released them
	closeTime = 30 * time.Second // after which they do for a guest that was closed, and is noted still
	abortTime = 30 * time.Second // that a round may take to end
)

// Verb is what a request wants.
type Verb string

// The verbs.
const (
	Hold    Verb = "hold"    // abort the guest's round, and make none for 15 minutes
	Release Verb = "release" // make rounds again
	Close   Verb = "close"   // the guest has ended: send what it wrote last
	Sync    Verb = "sync"    // make a round of all disks now
	Resync  Verb = "resync"  // and send them whole
	Verify  Verb = "verify"  // compare the replica
	List    Verb = "status"
)

// Request is one question to the daemon. A guest is named by its name or its resource's, and files by their path.
type Request struct {
	Verb     Verb   `json:"verb"`
	Guest    string `json:"guest,omitempty"`
	Resource string `json:"resource,omitempty"`
}

// Reply is the answer.
type Reply struct {
	Error string `json:"error"` // empty: done
	Round
	Guests []Status `json:"guests,omitempty"`
}

func replyOf(r Round, err error) Reply {
	if err != nil {
		return Reply{Error: err.Error()}
	}
	return Reply{Round: r}
}

// Round is how a round went.
type Round struct {
	Point  mirror.Point `json:"point,omitzero"`
	Full   bool         `json:"full,omitempty"`  // disks were sent whole
	Bytes  uint64       `json:"bytes,omitempty"` // that were sent
	TookS  float64      `json:"took_s,omitempty"`
	Differ int          `json:"differ,omitempty"` // of verify: in how many places the replica differed
}

// Status is how the mirror of a guest is.
type Status struct {
	Guest    string      `json:"guest"`
	UUID     string      `json:"uuid"`
	Role     mirror.Role `json:"role"`
	Peer     string      `json:"peer"`
	AgeS     *float64    `json:"age_s"` // of the replica's oldest disk; null where none is known to be whole
	Interval string      `json:"interval,omitempty"`
	MaxLossS float64     `json:"max_loss_s,omitempty"`
	Late     bool        `json:"late,omitempty"` // two intervals were missed
	Held     bool        `json:"held,omitempty"`
	Last     Round       `json:"last_round,omitzero"`
	Sync     string      `json:"full_sync,omitempty"` // how far it is
	Error    string      `json:"error,omitempty"`     // of the last round
	// Kept is what was put aside, as the program that asks finds it; the daemon does not look.
	Kept []mirror.Kept `json:"kept,omitempty"`
}

// Words of State.
const (
	Well     = "ok"
	FullSync = "full sync: "
)

// State is it in words.
func (s Status) State() string {
	switch {
	case s.Role != mirror.Truth:
		return string(s.Role)
	case s.Error != "":
		return "not mirrored: " + s.Error
	case s.Sync != "":
		return FullSync + s.Sync
	case s.Held:
		return "held"
	case s.Late:
		return "older than two intervals"
	case s.AgeS == nil:
		return "not mirrored yet"
	}
	return Well
}

// Ask puts a request to the daemon that listens at path, and waits until ctx ends, which must have a deadline. That the
// daemon has not done it is an error, too.
func Ask(ctx context.Context, path string, r Request) (reply Reply, err error) {
	err = socket.Ask(ctx, path, r, &reply)
	switch {
	case errors.Is(err, socket.ErrNobody):
		return reply, fmt.Errorf("the mirror's daemon does not run on this node: type systemctl start vmferry-mirror (%w)",
			err)
	case err == nil && reply.Error != "":
		err = errors.New(reply.Error)
	}
	return reply, err
}

// Answer does what a request wants, within ctx.
func (d *Daemon) Answer(ctx context.Context, _ uint32, r Request) Reply {
	if r.Verb == List {
		return Reply{Guests: d.status(time.Now())}
	}
	m := d.find(r)
	if r.Verb == Verify && strings.HasPrefix(r.Guest+r.Resource, "/") {
		return replyOf(Round{}, errors.New("a copy of files is not verified: resync compares them, and corrects it"))
	}
	if m == nil {
		return replyOf(Round{}, fmt.Errorf("guest %q is not mirrored from this node", r.Guest+r.Resource))
	}
	switch r.Verb {
	case Hold:
		if r := d.hold(ctx, m, time.Now().Add(holdTime)); r.Error != "" {
			return r
		}
		return replyOf(Round{}, d.quiet(ctx, m))
	case Release:
		d.mu.Lock()
		m.turn.held, m.turn.now = time.Time{}, true // also where the guest has stayed with an overlay
		d.mu.Unlock()
		m.wake()
		return Reply{}
	case Close:
		if r := d.hold(ctx, m, time.Now().Add(closeTime)); r.Error != "" {
			return r
		}
		return d.order(ctx, m, order{closes: true})
	case Sync, Resync, Verify:
		return d.order(ctx, m, order{all: true, full: r.Verb == Resync, verify: r.Verb == Verify})
	}
	return replyOf(Round{}, fmt.Errorf("there is no verb %q", r.Verb))
}

func (d *Daemon) find(r Request) *mirrored {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, m := range d.all {
		if id == r.Resource || r.Resource == "" && (m.Name == r.Guest || id == r.Guest) {
			return m
		}
	}
	return nil
}

// hold has no round of a guest begin before a time, and returns when one that is under way has ended.
func (d *Daemon) hold(ctx context.Context, m *mirrored, until time.Time) Reply {
	d.mu.Lock()
	m.turn.held, m.stale = until, true
	done := m.done
	m.abort(errHeld)
	d.mu.Unlock()
	if done == nil {
		return Reply{}
	}
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	select {
	case <-done:
		return Reply{}
	case <-ctx.Done():
		return replyOf(Round{}, errors.New("the round that is under way does not end"))
	}
}

// order has a round made, after one that is under way, and waits for its end. It is aborted at the end of ctx.
func (d *Daemon) order(ctx context.Context, m *mirrored, o order) (r Reply) {
	made := make(chan struct{})
	round := func(within context.Context) {
		defer close(made)
		within, cancel := context.WithCancel(within)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		r = d.round(within, m, o)
	}
	select {
	case m.orders <- round:
		<-made
		return r
	case <-ctx.Done():
		return replyOf(Round{}, ctx.Err())
	}
}

// status is how the mirrors of the guests are that are here, by name.
func (d *Daemon) status(now time.Time) (all []Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.all {
		if m.turn.gone {
			continue
		}
		last, late := m.turn.oldest(now)
		s := Status{Guest: m.Name, UUID: m.UUID, Role: mirror.Truth, Peer: m.Peer, Interval: m.Interval,
			MaxLossS: m.Mirror.MaxLoss.Seconds(), Late: late && m.sync == "", Held: m.turn.held.After(now),
			Last: m.last, Sync: m.sync}
		if !last.IsZero() {
			s.AgeS = new(now.Sub(last).Seconds())
		}
		if m.err != nil {
			s.Error = m.err.Error()
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Guest, b.Guest) })
	return all
}
