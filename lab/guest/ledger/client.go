package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
)

// What a client waits for a guest that does not answer, before it tries again: to connect, and for one line. A disk
// takes longer now and then.
const (
	dialTime = time.Second
	talkTime = 5 * time.Second
	retry    = 100 * time.Millisecond
)

// recent is how many acknowledged numbers a client remembers after it has seen them on the disk, and verifyEvery after
// how many new ones it looks.
const (
	recent      = Capacity / 8
	verifyEvery = 256
)

// Silence is a time in which a guest acknowledged nothing. To is zero while it lasts.
type Silence struct{ From, To time.Time }

// Client sends consecutive numbers to one guest all the time, and remembers which were acknowledged. Run it with
// [Client.Run]; its other methods may be called from any goroutine.
type Client struct {
	Address string                                                 // HOST:PORT
	Pace    time.Duration                                          // between two numbers
	Quiet   time.Duration                                          // a silence that is longer is remembered
	Dial    func(ctx context.Context, to string) (net.Conn, error) // nil: TCP
	Took    func(time.Duration)                                    // gets how long each took; nil: nobody wants to know

	mu       sync.Mutex
	acked    []Ack // the newest ones
	last     uint64
	answered time.Time // the last acknowledgement
	silences []Silence
	found    Findings
}

// Run sends numbers until ctx ends.
func (c *Client) Run(ctx context.Context) {
	c.mu.Lock()
	c.answered = time.Now()
	c.mu.Unlock()
	for ctx.Err() == nil {
		_ = c.visit(ctx, c.send) // the guest is away: that is a silence, and no error
		_ = wait.For(ctx, retry)
	}
}

// Verify asks the guest for its records and compares them with all numbers that were acknowledged; it returns what was
// found since the last call. An error means that the guest did not answer.
func (c *Client) Verify(ctx context.Context) (Findings, error) {
	err := c.visit(ctx, c.verify)
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.found
	c.found = Findings{}
	return found, err
}

// Against compares the numbers that it remembers with a scan of the disk from outside, when the guest is off.
func (c *Client) Against(s Scan) Findings {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Check(c.acked, s)
}

// Records asks the guest for all that it has. An error means that the guest did not answer.
func (c *Client) Records(ctx context.Context) (s Scan, err error) {
	err = c.visit(ctx, func(_ context.Context, t *talk) (err error) {
		s, err = t.records(1)
		return err
	})
	return s, err
}

// Fill has the guest write noise to count MiB after its ledger, from the MiB first on, and returns when that is on the
// disk. An error means that not all of it is.
func (c *Client) Fill(ctx context.Context, first, count uint64) error {
	return c.visit(ctx, func(_ context.Context, t *talk) error {
		for mib := first; mib < first+count; mib++ {
			if err := t.command("fill", mib); err != nil {
				return err
			}
		}
		return nil
	})
}

// Acked are the newest numbers that were acknowledged, in order. How many it remembers depends on when it has last looked
// for them on the disk: 256 at least, where there were so many.
func (c *Client) Acked() []Ack {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.acked)
}

// Last is the newest number that was acknowledged, and when.
func (c *Client) Last() (number uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.answered
}

// Silences are those that did not end before since, in order; the last one may not have ended yet.
func (c *Client) Silences(since time.Time) []Silence {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(c.silences), func(s Silence) bool { return s.To.Before(since) })
	if time.Since(c.answered) > c.Quiet {
		all = append(all, Silence{From: c.answered})
	}
	return all
}

// talk is an open connection to a guest.
type talk struct {
	conn net.Conn
	in   *bufio.Scanner
	boot string // the guest's boot id
	last uint64 // the newest number that it had when the connection was opened
}

// visit connects to the guest, calls do, and disconnects. It ends with ctx.
func (c *Client) visit(ctx context.Context, do func(context.Context, *talk) error) error {
	dial := c.Dial
	if dial == nil {
		dial = func(ctx context.Context, to string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		}
	}
	soon, cancel := context.WithTimeout(ctx, dialTime)
	conn, err := dial(soon, c.Address)
	cancel()
	if err != nil {
		return fmt.Errorf("reach the ledger at %s: %w", c.Address, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	t := &talk{conn: conn, in: bufio.NewScanner(conn)}
	words, err := t.hear("ledger", 4)
	if err == nil {
		t.boot = words[1]
		t.last, err = strconv.ParseUint(words[3], 10, 64)
	}
	if err != nil {
		return err
	}
	return do(ctx, t)
}

// hear reads a line of n words that begins with word.
func (t *talk) hear(word string, n int) ([]string, error) {
	if err := t.conn.SetReadDeadline(time.Now().Add(talkTime)); err != nil {
		return nil, err
	}
	if !t.in.Scan() {
		return nil, errors.Join(errors.New("the ledger hung up"), t.in.Err())
	}
	words := strings.Fields(t.in.Text())
	if len(words) != n || words[0] != word {
		return nil, fmt.Errorf("the ledger says %q", t.in.Text())
	}
	return words, nil
}

func (t *talk) ask(verb string, n uint64) error {
	if err := t.conn.SetWriteDeadline(time.Now().Add(talkTime)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.conn, "%s %d\n", verb, n)
	return err
}

// command has the guest do what the verb says with a number, and waits until it has.
func (t *talk) command(verb string, n uint64) error {
	if err := t.ask(verb, n); err != nil {
		return err
	}
	words, err := t.hear("ok", 2)
	if err == nil && words[1] != strconv.FormatUint(n, 10) {
		err = fmt.Errorf("the ledger acknowledges %s in place of %d", words[1], n)
	}
	return err
}

// send sends numbers until the guest goes away. A guest that has written more than it could acknowledge is continued
// after that; one that has less has lost numbers.
func (c *Client) send(ctx context.Context, t *talk) error {
	c.arrive(t)
	for next, sent := t.last+1, 1; ; next, sent = next+1, sent+1 {
		asked := time.Now()
		if err := t.command("put", next); err != nil {
			return err
		}
		now := time.Now()
		c.acknowledged(Ack{next, t.boot, now})
		if c.Took != nil {
			c.Took(now.Sub(asked))
		}
		if sent%verifyEvery == 0 {
			if err := c.verify(ctx, t); err != nil {
				return err
			}
		}
		if err := wait.For(ctx, c.Pace); err != nil {
			return err
		}
	}
}

// arrive compares what a guest says that it has with what it has acknowledged.
func (c *Client) arrive(t *talk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.last < c.last {
		c.found.Lost = append(c.found.Lost, fmt.Sprintf("boot %s ends at number %d, and %d was acknowledged", t.boot,
			t.last, c.last))
		c.acked = slices.DeleteFunc(c.acked, func(a Ack) bool { return a.Number > t.last }) // said once is enough
	}
	c.last = t.last
}

func (c *Client) acknowledged(a Ack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.At.Sub(c.answered) > c.Quiet {
		c.silences = append(c.silences, Silence{c.answered, a.At})
	}
	c.acked, c.last, c.answered = append(c.acked, a), a.Number, a.At
}

// verify reads the guest's records and checks them. The oldest numbers are forgotten after that.
func (c *Client) verify(_ context.Context, t *talk) error {
	c.mu.Lock()
	acked := slices.Clone(c.acked)
	c.mu.Unlock()
	if len(acked) == 0 {
		return nil
	}
	s, err := t.records(acked[0].Number)
	if err != nil {
		return err
	}
	found := Check(acked, s)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found.add(found)
	newest := acked[len(acked)-1].Number
	c.acked = slices.DeleteFunc(c.acked, func(a Ack) bool {
		return a.Number+recent <= newest || a.Number <= newest && !found.Good()
	})
	return nil
}

// records asks for all records from the number first on.
func (t *talk) records(first uint64) (Scan, error) {
	if err := t.ask("all", first); err != nil {
		return Scan{}, err
	}
	var s Scan
	for {
		if err := t.conn.SetReadDeadline(time.Now().Add(talkTime)); err != nil {
			return Scan{}, err
		}
		if !t.in.Scan() {
			return Scan{}, errors.Join(errors.New("the ledger hung up"), t.in.Err())
		}
		var r Record
		line := t.in.Text()
		if n, _ := fmt.Sscanf(line, "rec %d %d %s", &r.Number, &r.Generation, &r.BootID); n == 3 {
			s.Records = append(s.Records, r)
		} else if n, _ := fmt.Sscanf(line, "end %d", &s.Damaged); n == 1 {
			return s, nil
		} else {
			return Scan{}, fmt.Errorf("the ledger says %q", line)
		}
	}
}
