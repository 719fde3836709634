package scenario

import (
	"bufio"
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/lab/xendomains"
	"github.com/vmferry/vmferry/migrate/wait"
)

// xenObserver reads from each dom0 what the hypervisor below it says of its
// domains (package xendomains), and from the lab's supervisor whether the machine
// is there at all.
//
// A stream that breaks off means that nothing is known of the node's copies:
// they count as executing until the stream is back, or until the machine is
// gone, and the copies with it.
type xenObserver struct {
	cluster *cluster.Cluster
	names   map[string]string // of the guests, by UUID

	mu     sync.Mutex
	copies []Copy
	events []Event
}

func newXenObserver(c *cluster.Cluster, guests []Guest) observer {
	names := map[string]string{}
	for _, g := range guests {
		names[g.UUID] = g.Name
	}
	return &xenObserver{cluster: c, names: names}
}

// Copies is as in observer.
func (o *xenObserver) Copies() []Copy {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.copies)
}

// Events is as in observer.
func (o *xenObserver) Events() []Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	return inOrder(o.events)
}

// Run is as in observer.
func (o *xenObserver) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range o.cluster.Nodes {
		group.Go(func() error {
			o.follow(ctx, name)
			return nil
		})
	}
	return group.Wait()
}

// powerPeriod is between two looks at a machine's power, and thus how late its
// death is known.
const powerPeriod = 50 * time.Millisecond

// follow observes one node through all of its lives until ctx ends.
func (o *xenObserver) follow(ctx context.Context, node string) {
	for wait.For(ctx, powerPeriod) == nil {
		reply, err := o.cluster.State(ctx)
		if err != nil {
			continue // who does not answer has not said that it is gone
		}
		life := reply.Nodes[node]
		if life.Leader != 0 {
			o.followLife(ctx, node, life)
		}
		if ctx.Err() == nil {
			o.machineGone(node, time.Now())
		}
	}
}

// followLife returns when the machine that was booted then is there no more.
func (o *xenObserver) followLife(ctx context.Context, node string, life supervisor.State) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		defer end()
		for wait.For(ctx, powerPeriod) == nil {
			reply, err := o.cluster.State(ctx)
			if now := reply.Nodes[node]; err == nil && (now.Leader != life.Leader || now.Boots != life.Boots) {
				return
			}
		}
	}()
	s := &stream{observer: o, node: node}
	for ctx.Err() == nil {
		if err := s.read(ctx); err != nil {
			s.start(ctx)
		}
		s.lost()
		_ = wait.For(ctx, 300*time.Millisecond) // it is booting, or going down
	}
}

// machineGone is called when nothing on the node can execute any more.
func (o *xenObserver) machineGone(node string, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.copies {
		if c := &o.copies[i]; c.Node == node && c.Gone.IsZero() {
			c.Gone = at
		}
	}
}

// stream is what one life of a dom0 tells.
type stream struct {
	observer *xenObserver
	node     string

	clock offset
	// of the last look before the stream was lost; zero while it flows, and in the beginning
	last  time.Time
	state map[int]xendomains.State // of the domains that live, by number
	heard time.Time                // of the last look
}

// domainsPort is where dom0 reports its domains. There is no ssh in between:
// it costs more than the looks, and ends early when the node shuts down.
const domainsPort = 7010

// read reads looks until the stream breaks off. The error says that there was
// no stream at all.
func (s *stream) read(ctx context.Context) error {
	address := net.JoinHostPort(s.observer.cluster.Addresses[s.node], strconv.Itoa(domainsPort))
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s.clock = offset{}
	lines := bufio.NewScanner(conn)
	for conn.SetReadDeadline(time.Now().Add(silenceLimit)) == nil && lines.Scan() {
		look, err := xendomains.Parse(lines.Bytes())
		if err != nil {
			return nil // it is not to be trusted any more
		}
		s.see(look, time.Now())
	}
	return nil
}

// silenceLimit is how long dom0 may be silent before its stream counts as lost:
// it tells something every [xendomains.Heartbeat], if it gets a processor.
const silenceLimit = 10 * time.Second

// start has dom0 run the program, as a service that a shutdown leaves alone
// until all others have ended.
func (s *stream) start(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	program := "/run/" + xendomains.ProgramName
	if _, err := s.observer.cluster.Run(ctx, s.node, "ln", "--symbolic", "--force", "/usr/sbin/fence_lab",
		program); err != nil {
		return
	}
	// It fails where the service runs already: then the next attempt to read
	// from it tells more.
	_, _ = s.observer.cluster.Run(ctx, s.node, "systemd-run", "--collect", "--quiet", "--unit="+xendomains.ProgramName,
		"--property=DefaultDependencies=no", program, ":"+strconv.Itoa(domainsPort))
}

// see takes in a look that arrived at a time of this machine's clock.
func (s *stream) see(look xendomains.Look, arrived time.Time) {
	o := s.observer
	o.mu.Lock()
	defer o.mu.Unlock()
	s.clock.learn(look.At, arrived)
	at, before := s.clock.here(look.At), s.clock.here(look.Before)
	if look.Before == 0 {
		before = at
	}
	blind := !s.last.IsZero()
	if blind { // the first look after a loss
		before = s.last
	}
	s.last, s.heard = time.Time{}, at
	now := map[int]xendomains.State{}
	for _, d := range look.Domains {
		now[d.ID] = d.State
		was, known := s.state[d.ID]
		switch {
		case !known:
			o.begin(s.node, d, before, at, blind)
		case (was == xendomains.Executing) != (d.State == xendomains.Executing):
			o.events = append(o.events, Event{At: at, Since: before, Node: s.node, Guest: o.name(d.UUID),
				Name: eventFor(d.State)})
		}
	}
	for i := range o.copies {
		c := &o.copies[i]
		if _, lives := now[c.ID]; c.Node == s.node && c.Gone.IsZero() && !lives {
			c.Gone = at
		}
	}
	s.state = now
}

// begin adds a copy that was not there before. One that is built while another
// copy of the guest lives is to receive it. blind says that it may have been
// there since before, and have done anything.
func (o *xenObserver) begin(node string, d xendomains.Domain, before, at time.Time, blind bool) {
	c := Copy{Guest: o.name(d.UUID), Node: node, ID: d.ID, Seen: at}
	c.Incoming = len(whereNow(c.Guest, o.copies)) > 0
	c.Resting = d.State != xendomains.Executing && !blind
	if !c.Resting {
		c.Seen = before
		o.events = append(o.events, Event{At: at, Since: before, Node: node, Guest: c.Guest, Name: eventFor(d.State)})
	}
	o.copies = append(o.copies, c)
}

// lost is called when the stream broke off: from the last look on, whatever
// rested may execute.
func (s *stream) lost() {
	o := s.observer
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.heard.IsZero() || !s.last.IsZero() {
		return
	}
	s.last = s.heard
	for i := range o.copies {
		c := o.copies[i]
		if c.Node != s.node || !c.Gone.IsZero() || s.state[c.ID] == xendomains.Executing {
			continue
		}
		s.state[c.ID] = xendomains.Executing
		o.events = append(o.events, Event{At: s.heard, Node: s.node, Guest: c.Guest, Name: Lost})
	}
}

func eventFor(now xendomains.State) string {
	if now == xendomains.Executing {
		return Resume
	}
	return Stop
}

// name is the guest's, or the UUID of a domain that is none of ours.
func (o *xenObserver) name(uuid string) string {
	if name, ok := o.names[uuid]; ok {
		return name
	}
	return uuid
}

// offset is between dom0's monotonic clock and this machine's clock. A line
// takes some time to arrive, and the least of late is nearest to none; an
// emulated clock is not quite as fast as ours, so older lines do not count.
type offset struct {
	recent [16]time.Duration // arrival, after epoch, less what the line says
	n      int
	epoch  time.Time
}

// learn takes in a line that says at and has arrived.
func (o *offset) learn(at time.Duration, arrived time.Time) {
	if o.n == 0 {
		o.epoch = arrived
	}
	o.recent[o.n%len(o.recent)] = arrived.Sub(o.epoch) - at
	o.n++
}

// here is a time of dom0's on this machine's clock.
func (o *offset) here(at time.Duration) time.Time {
	return o.epoch.Add(at + slices.Min(o.recent[:min(o.n, len(o.recent))]))
}
