package ledger

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	bootA = "aaaaaaaa-0000-4000-8000-000000000000"
	bootB = "bbbbbbbb-0000-4000-8000-000000000000"
	bootC = "cccccccc-0000-4000-8000-000000000000"
)

// memory is a disk in memory.
type memory struct {
	mu    sync.Mutex
	bytes []byte
	fails error
}

func newMemory() *memory { return &memory{bytes: make([]byte, End)} }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(m.bytes).ReadAt(p, off)
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return 0, m.fails
	}
	return copy(m.bytes[off:], p), nil
}

// boot opens the ledger on m and puts the numbers from its end on.
func boot(t *testing.T, m *memory, id string, numbers int) *Ledger {
	t.Helper()
	l, err := Open(m, id)
	if err != nil {
		t.Fatal(err)
	}
	for range numbers {
		if err := l.Put(l.Last() + 1); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func scan(t *testing.T, m *memory) Scan {
	t.Helper()
	s, err := Read(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLedgerGoesOn(t *testing.T) {
	m := newMemory()
	boot(t, m, bootA, 3)
	boot(t, m, bootB, 2)
	s := scan(t, m)
	if s.Last() != 5 || s.Generation() != 2 || s.Damaged != 0 || len(s.Records) != 5 {
		t.Fatalf("%+v", s)
	}
	if s.Records[2] != (Record{3, 1, bootA}) || s.Records[3] != (Record{4, 2, bootB}) {
		t.Errorf("%+v", s.Records)
	}
}

func TestPut(t *testing.T) {
	m := newMemory()
	l := boot(t, m, bootA, 3)
	for number, want := range map[uint64]string{0: "gap", 2: "", 3: "", 5: "gap: the ledger ends at 3"} {
		err := l.Put(number)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("put %d: %v, want %q", number, err, want)
		}
	}
	m.fails = errors.New("input/output error")
	if err := l.Put(4); err == nil || l.Last() != 3 {
		t.Errorf("a write that failed: %v, the ledger ends at %d", err, l.Last())
	}
	m.fails = nil
	if err := l.Put(4); err != nil || scan(t, m).Last() != 4 {
		t.Errorf("the write again: %v", err)
	}
}

// The ring keeps its newest records, and a boot finds its end wherever it is.
func TestRing(t *testing.T) {
	for _, n := range []int{Capacity - 1, Capacity, Capacity + 1, 2*Capacity + 7} {
		m := newMemory()
		boot(t, m, bootA, n)
		s := scan(t, m)
		if len(s.Records) != min(n, Capacity) || s.Last() != uint64(n) || s.Damaged != 0 {
			t.Errorf("%d numbers: %d records, the last is %d, %d damaged", n, len(s.Records), s.Last(), s.Damaged)
		}
		if l := boot(t, m, bootB, 1); l.Last() != uint64(n+1) {
			t.Errorf("%d numbers: the next boot ends at %d", n, l.Last())
		}
	}
}

// A write that a crash tears is no record, and takes no other with it.
func TestTornWrite(t *testing.T) {
	for _, torn := range []int{1, 8, 20, 60, recordLen - 1} {
		m := newMemory()
		boot(t, m, bootA, 3)
		block := make([]byte, BlockSize)
		if err := Encode(block, Record{4, 1, bootA}); err != nil {
			t.Fatal(err)
		}
		copy(m.bytes[offset(4):], block[:torn])
		s := scan(t, m)
		if s.Last() != 3 || s.Damaged != 1 {
			t.Errorf("torn at %d: ends at %d, %d damaged", torn, s.Last(), s.Damaged)
		}
		if f := Check([]Ack{{1, bootA, time.Time{}}, {2, bootA, time.Time{}}, {3, bootA, time.Time{}}}, s); !f.Good() {
			t.Errorf("torn at %d: %+v", torn, f)
		}
		if boot(t, m, bootB, 1); scan(t, m).Damaged != 0 {
			t.Errorf("torn at %d: the next write did not replace it", torn)
		}
	}
}

func TestCheck(t *testing.T) {
	records := func(boots ...string) (s Scan) {
		generations := map[string]uint64{bootA: 1, bootB: 2, bootC: 3}
		for i, b := range boots {
			s.Records = append(s.Records, Record{uint64(i + 1), generations[b], b})
		}
		return s
	}
	acks := func(boots ...string) (all []Ack) {
		for i, b := range boots {
			if b != "" {
				all = append(all, Ack{uint64(i + 1), b, time.Time{}})
			}
		}
		return all
	}
	same := records(bootA, bootB)
	same.Records[1].Generation = 1
	gap := records(bootA, bootA, bootA)
	gap.Records = append(gap.Records[:1], gap.Records[2])
	turn := records(bootA, bootA)
	turn.Records[1].Generation = 2
	damaged := records(bootA)
	damaged.Damaged = 2
	old := Scan{Records: []Record{{Capacity + 2, 1, bootA}}}
	for _, test := range []struct {
		name         string
		acked        []Ack
		found        Scan
		lost, double int
		good         bool
	}{
		{"nothing", nil, Scan{}, 0, 0, true},
		{"all there", acks(bootA, bootA, bootB), records(bootA, bootA, bootB), 0, 0, true},
		{"more than was acknowledged", acks(bootA), records(bootA, bootA, bootB), 0, 0, true},
		{"not acknowledged, and not there", acks(bootA, "", ""), records(bootA), 0, 0, true},
		{"the end is lost", acks(bootA, bootA, bootA), records(bootA), 2, 0, false},
		{"one in the middle is lost", acks(bootA, bootA, bootA), gap, 1, 0, false},
		{"written again by another boot", acks(bootA, bootA, bootB), records(bootA, bootB, bootB), 0, 1, false},
		{"a late write of a dead boot", acks(bootA, bootB, bootB), records(bootA, bootA, bootB), 0, 1, false},
		{"two boots in turn", nil, records(bootA, bootB, bootA), 0, 1, false},
		{"one between two others", nil, records(bootA, bootB, bootC, bootB), 0, 1, false},
		{"an earlier generation follows", nil, records(bootB, bootA), 0, 1, false},
		{"two boots of one generation", nil, same, 0, 1, false},
		{"one boot in two generations", nil, turn, 0, 1, false},
		{"damaged blocks", nil, damaged, 0, 0, false},
		{"the ring has gone on", acks(bootA), old, 0, 0, true},
	} {
		f := Check(test.acked, test.found)
		if len(f.Lost) != test.lost || len(f.Double) != test.double || f.Good() != test.good {
			t.Errorf("%s: %+v", test.name, f)
		}
	}
}

// guest is a guest that can be killed: its ledger, and the connections to it.
type guest struct {
	mu    sync.Mutex
	l     *Ledger
	conns []net.Conn
}

func (g *guest) dial(context.Context, string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.l == nil {
		return nil, errors.New("no route to host")
	}
	ours, theirs := net.Pipe()
	g.conns = append(g.conns, ours)
	go Converse(theirs, g.l)
	return ours, nil
}

func (g *guest) be(l *Ledger) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.l = l
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

// converse runs a client for as long as body takes.
func converse(t *testing.T, body func(t *testing.T, g *guest, c *Client, m *memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, g := newMemory(), new(guest)
		g.be(boot(t, m, bootA, 0))
		c := &Client{Address: "guest", Pace: 100 * time.Millisecond, Quiet: time.Second, Dial: g.dial}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		body(t, g, c, m)
		cancel()
		g.be(nil)
		<-done
	})
}

func TestClientSeesARestart(t *testing.T) {
	converse(t, func(t *testing.T, g *guest, c *Client, m *memory) {
		time.Sleep(time.Minute)
		began := time.Now()
		g.be(nil)
		time.Sleep(10 * time.Second)
		g.be(boot(t, m, bootB, 0))
		time.Sleep(time.Minute)
		f, err := c.Verify(t.Context())
		if err != nil || !f.Good() {
			t.Errorf("%+v, %v", f, err)
		}
		silences := c.Silences(began)
		if len(silences) != 1 || silences[0].To.Sub(silences[0].From) < 10*time.Second {
			t.Errorf("%+v", silences)
		}
		if n, _ := c.Last(); n < 1000 || !c.Against(scan(t, m)).Good() {
			t.Errorf("%d numbers, %+v", n, c.Against(scan(t, m)))
		}
	})
}

func TestClientFindsWhatIsLost(t *testing.T) {
	converse(t, func(t *testing.T, g *guest, c *Client, m *memory) {
		time.Sleep(time.Minute)
		g.be(nil)
		last, _ := c.Last()
		clear(m.bytes[offset(last):][:BlockSize])
		g.be(boot(t, m, bootB, 0))
		time.Sleep(10 * time.Second)
		if f, err := c.Verify(t.Context()); err != nil || len(f.Lost) != 1 || len(f.Double) != 0 {
			t.Errorf("%+v, %v", f, err)
		}
		if f, err := c.Verify(t.Context()); err != nil || !f.Good() {
			t.Errorf("it is said again: %+v, %v", f, err)
		}
	})
}

// A second copy that writes on after the first one has begun leaves its boot id in what the first acknowledged.
func TestClientFindsASecondWriter(t *testing.T) {
	converse(t, func(t *testing.T, g *guest, c *Client, m *memory) {
		time.Sleep(time.Minute)
		g.mu.Lock()
		old := g.l
		g.mu.Unlock()
		g.be(boot(t, m, bootB, 0))
		time.Sleep(10 * time.Second)
		if err := old.Put(old.Last() + 1); err != nil {
			t.Error(err)
		}
		if f, err := c.Verify(t.Context()); err != nil || len(f.Double) == 0 {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

// What is filled is other noise each time, the ledger and what is beside it stay, and numbers go on beside it.
func TestFill(t *testing.T) {
	converse(t, func(t *testing.T, _ *guest, c *Client, m *memory) {
		const mib = 1 << 20
		m.mu.Lock()
		m.bytes = append(m.bytes, make([]byte, Room+4*mib-len(m.bytes))...)
		m.mu.Unlock()
		room := func() [][]byte {
			m.mu.Lock()
			defer m.mu.Unlock()
			return slices.Collect(slices.Chunk(bytes.Clone(m.bytes[Room:]), mib))
		}
		var was [][]byte
		for range 2 {
			if err := c.Fill(t.Context(), 1, 2); err != nil {
				t.Fatal(err)
			}
			now, zeroes := room(), make([]byte, mib)
			if !bytes.Equal(now[0], zeroes) || !bytes.Equal(now[3], zeroes) || bytes.Contains(now[1], zeroes[:64]) ||
				bytes.Equal(now[1], now[2]) || was != nil && bytes.Equal(now[1], was[1]) {
				t.Error("the wrong room is filled, or not with other noise")
			}
			was = now
		}
		if err := c.Fill(t.Context(), maxRoom, 1); err == nil {
			t.Error("there is room without end")
		}
		time.Sleep(time.Minute)
		if n, _ := c.Last(); n < 500 || !c.Against(scan(t, m)).Good() {
			t.Errorf("%d numbers, %+v", n, c.Against(scan(t, m)))
		}
	})
}

func TestSilenceThatLasts(t *testing.T) {
	converse(t, func(t *testing.T, g *guest, c *Client, _ *memory) {
		time.Sleep(10 * time.Second)
		if s := c.Silences(time.Time{}); len(s) != 0 {
			t.Errorf("%+v", s)
		}
		g.be(nil)
		time.Sleep(10 * time.Second)
		if s := c.Silences(time.Now()); len(s) != 1 || !s[0].To.IsZero() {
			t.Errorf("%+v", s)
		}
		if _, err := c.Verify(t.Context()); err == nil {
			t.Error("a guest that is away was verified")
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, block []byte) {
		r, err := Decode(block)
		if err != nil {
			return
		}
		again := make([]byte, BlockSize)
		if err := Encode(again, r); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if back, err := Decode(again); err != nil || back != r {
			t.Errorf("%+v is read as %+v, %v", r, back, err)
		}
	})
}

// Whatever is on the disk, a scan ends with records in order, and what follows it can be written.
func FuzzScan(f *testing.F) {
	f.Fuzz(func(t *testing.T, image []byte) {
		m := newMemory()
		copy(m.bytes[Start:], image)
		s := scan(t, m)
		for i := 1; i < len(s.Records); i++ {
			if s.Records[i-1].Number >= s.Records[i].Number {
				t.Fatalf("%+v before %+v", s.Records[i-1], s.Records[i])
			}
		}
		Check([]Ack{{Number: 1, BootID: bootA}}, s)
		l, err := Open(m, bootC)
		if err != nil {
			t.Fatal(err)
		}
		if next := l.Last() + 1; next != 0 {
			if err := l.Put(next); err != nil {
				t.Fatal(err)
			}
		}
	})
}
