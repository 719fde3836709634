package reflector

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

func probeBytes(session, seq uint64) []byte {
	return encoded(wire.Packet{Kind: wire.Probe, Session: session, Seq: seq})
}

// client is a socket that has a cookie of its reflector.
type client struct {
	net.Conn
	wire.Cookie
}

func newClient(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &client{Conn: conn}
}

// probe sends a probe and returns the answer to it, after the cookie that is
// asked for once.
func (c *client) probe(t *testing.T, session, seq uint64) wire.Packet {
	t.Helper()
	buf := make([]byte, 4096)
	for range 2 {
		if _, err := c.Write(encoded(wire.Packet{Kind: wire.Probe, Session: session, Seq: seq, Instance: c.Cookie[0],
			Count: c.Cookie[1]})); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		p, err := wire.ParseAny(buf[:n])
		if err != nil || n != wire.PacketSize || p.Seq != seq || p.Session != session {
			t.Fatalf("answer %x: %v", buf[:n], err)
		}
		if p.Kind == wire.Answer {
			return p
		}
		c.Cookie = p.Cookie()
	}
	t.Fatal("the cookie is not taken")
	return wire.Packet{}
}

func TestReflectorSurvivesGarbage(t *testing.T) {
	c := newClient(t, startReflector(t))
	var instance uint64
	for i, b := range [][]byte{
		{}, {0}, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, wire.PacketSize), make([]byte, 1400),
		probeBytes(1, 0), probeBytes(1, 1)[:wire.PacketSize-1], strangeAnswer,
	} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		p := c.probe(t, 99, uint64(i+1))
		if p.Count != uint64(i+1) || instance != 0 && p.Instance != instance {
			t.Errorf("after %x: %+v, want count %d and the same instance", b, p, i+1)
		}
		instance = p.Instance
	}
}

func TestReflectorAnswersNoMoreThanItReceived(t *testing.T) {
	c := newClient(t, startReflector(t))
	if _, err := c.Write(append(probeBytes(1, 1), make([]byte, 1000)...)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, err := c.Read(buf); err != nil || n != wire.PacketSize {
		t.Errorf("%d bytes, %v; want %d", n, err, wire.PacketSize)
	}
}

var (
	alice   = socket.Address{2: 1}
	mallory = socket.Address{2: 2}
)

// A cookie is good for one address and one session, and nothing is kept of
// clients that did not show theirs.
func TestOnlyCookiesAreReflected(t *testing.T) {
	r := New(quiet(), Limits{})
	send := func(from socket.Address, session uint64, c wire.Cookie) wire.Packet {
		b := encoded(wire.Packet{Kind: wire.Probe, Session: session, Seq: 1, Instance: c[0], Count: c[1]})
		if !r.datagram(b, from, 0) {
			t.Fatal("no reply")
		}
		p, err := wire.ParseAny(b)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := send(alice, 1, wire.Cookie{}).Cookie()
	for name, p := range map[string]wire.Packet{
		"no cookie": send(alice, 1, wire.Cookie{}), "another one": send(alice, 1, wire.Cookie{1, 2}),
		"from elsewhere": send(mallory, 1, good), "of another session": send(alice, 2, good),
	} {
		if p.Kind != wire.Challenge {
			t.Errorf("%s: %+v, want a challenge", name, p)
		}
	}
	if n := len(r.sessions.known); n != 0 {
		t.Errorf("%d sessions are kept before any cookie", n)
	}
	for range 2 { // computed, then remembered
		if p := send(alice, 1, good); p.Kind != wire.Answer || p.Count != 1 || p.Instance != r.instance {
			t.Errorf("with its cookie: %+v, want an answer", p)
		}
	}
	if p := send(mallory, 1, good); p.Kind != wire.Challenge {
		t.Errorf("from elsewhere, with one that is remembered: %+v, want a challenge", p)
	}
}

func TestReflectorKeepsToItsRate(t *testing.T) {
	r := New(quiet(), Limits{Rate: 1000, Clients: 2})
	good := r.handshake.keys.cookie(r.handshake.keys.epoch, alice, 1)
	answers := 0
	for seq := range uint64(10000) { // in one second
		b := encoded(wire.Packet{Kind: wire.Probe, Session: 1, Seq: seq + 1, Instance: good[0], Count: good[1]})
		if r.datagram(b, alice, time.Duration(seq)*100*time.Microsecond) {
			answers++
		}
	}
	if answers < 1090 || answers > 1110 {
		t.Errorf("%d answers in a second, want 1000 and what 100 ms may save up", answers)
	}
	offers := 0
	for id := range uint64(100000) { // in a tenth of a second
		if r.datagram(probeBytes(id+2, 1), mallory, time.Minute+time.Duration(id)*time.Microsecond) {
			offers++
		}
	}
	if want := wire.MaxTargets + challengeRate/10; offers < want*99/100 || offers > want*101/100 {
		t.Errorf("%d cookies given out in a tenth of a second, want %d", offers, want)
	}
}

func TestLimitsValidate(t *testing.T) {
	for _, l := range []Limits{
		{Clients: -1}, {Rate: -1}, {Connections: -1}, {Rate: maxRate + 1}, {Clients: maxClients + 1},
		{ClientsPerAddress: -1}, {ConnectionsPerAddress: maxClients + 1},
	} {
		if l.Validate() == nil {
			t.Errorf("%+v is content", l)
		}
	}
	if err := (Limits{}).Validate(); err != nil {
		t.Error(err)
	}
}

// hail throws n random datagrams at a reflector, many of them close to probes,
// and returns how many were answered.
func hail(t testing.TB, r *Reflector, n int) (answers int) {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 256)
	for i := range n {
		size := random.IntN(len(b))
		for at := 0; at+8 <= len(b); at += 8 {
			binary.LittleEndian.PutUint64(b[at:], random.Uint64())
		}
		if i%2 == 0 {
			copy(b, encoded(wire.Packet{Kind: wire.Probe, Session: random.Uint64N(1e6), Seq: random.Uint64()}))
			b[random.IntN(wire.PacketSize)] ^= byte(random.Uint32() & random.Uint32())
		}
		if !r.datagram(b[:size], socket.Address{4: byte(i), 5: byte(i >> 8)}, time.Duration(i)*100*time.Microsecond) {
			continue
		}
		if answers++; size < wire.PacketSize {
			t.Fatalf("%d bytes are answered", size)
		}
	}
	return answers
}

func TestReflectorInAHailOfRandomDatagrams(t *testing.T) {
	r := New(quiet(), Limits{})
	answers := hail(t, r, 200_000)
	if answers == 0 || len(r.sessions.known) != 0 {
		t.Errorf("%d answers, %d sessions; want challenges and no session", answers, len(r.sessions.known))
	}
}

// BenchmarkHail is to be run with -benchtime 10000000x once in a while.
func BenchmarkHail(b *testing.B) {
	r := New(quiet(), Limits{})
	b.ReportAllocs()
	hail(b, r, b.N)
}

func FuzzDatagram(f *testing.F) {
	f.Add(probeBytes(1, 1), byte(1))
	f.Add(strangeAnswer, byte(2))
	f.Fuzz(func(t *testing.T, in []byte, from byte) {
		r := New(quiet(), Limits{})
		if r.datagram(in, socket.Address{2: from}, 0) && (len(in) < wire.PacketSize || in[5] != wire.Challenge) {
			t.Errorf("%x is the answer", in)
		}
	})
}

func TestCountersAreSharedByUDPAndTCP(t *testing.T) {
	addr := startReflector(t)
	udp := newClient(t, addr)
	stream, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	first := udp.probe(t, 5, 1)
	if _, err := stream.Write(probeBytes(5, 2)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, wire.PacketSize)
	if _, err := io.ReadFull(stream, buf); err != nil {
		t.Fatal(err)
	}
	second, err := wire.Parse(buf, wire.Answer)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range []wire.Packet{first, second, udp.probe(t, 5, 3)} {
		if p.Count != uint64(i+1) || p.Instance != first.Instance {
			t.Errorf("answer %d: %+v, want count %d of one instance", i, p, i+1)
		}
	}
}

// pieces delivers a stream in reads of the given sizes and keeps what is
// written to it.
type pieces struct {
	in    []byte
	sizes []int
	out   bytes.Buffer
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := len(p.in)
	if len(p.sizes) > 0 {
		n, p.sizes = min(n, p.sizes[0]), p.sizes[1:]
	}
	n = copy(b, p.in[:n])
	p.in = p.in[n:]
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) { return p.out.Write(b) }

func TestAnswerStream(t *testing.T) {
	three := bytes.Join([][]byte{probeBytes(1, 1), probeBytes(1, 2), probeBytes(1, 3)}, nil)
	many := bytes.Repeat(probeBytes(1, 1), 1000)
	tests := map[string]struct {
		in    []byte
		sizes []int
		want  int // answers
		err   error
	}{
		"at once":            {three, nil, 3, nil},
		"byte by byte":       {three, slicesOf(1, len(three)), 3, nil},
		"across packets":     {three, []int{50, 90}, 3, nil},
		"more than a buffer": {many, nil, 1000, nil},
		"cut short":          {three[:wire.PacketSize+5], nil, 1, nil},
		"malformed":          {append(bytes.Clone(three), many[1:]...), []int{len(three)}, 3, wire.ErrPacket},
		"a web browser": {[]byte("GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n"), nil, 0,
			wire.ErrPacket},
	}
	for name, tt := range tests {
		rw := &pieces{in: tt.in, sizes: tt.sizes}
		err := New(quiet(), Limits{}).answerStream(rw, &connection{}, func() {})
		if !errors.Is(err, tt.err) || rw.out.Len() != tt.want*wire.PacketSize {
			t.Errorf("%s: %d bytes, %v; want %d answers, %v", name, rw.out.Len(), err, tt.want, tt.err)
		}
	}
}

func slicesOf(value, n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = value
	}
	return all
}

func FuzzAnswerStream(f *testing.F) {
	f.Add(probeBytes(1, 1), 7)
	f.Add([]byte("GET /"), 1)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		rw := &pieces{in: in, sizes: slicesOf(max(size, 1), 8)}
		_ = New(quiet(), Limits{}).answerStream(rw, &connection{}, func() {})
		if rw.out.Len() > len(in) {
			t.Errorf("%d bytes answer %d", rw.out.Len(), len(in))
		}
	})
}

func TestAnsweringDoesNotAllocate(t *testing.T) {
	r := New(quiet(), Limits{})
	good := r.handshake.keys.cookie(r.handshake.keys.epoch, alice, 1)
	probe, b := encoded(wire.Packet{Kind: wire.Probe, Session: 1, Seq: 1, Instance: good[0], Count: good[1]}),
		make([]byte, wire.PacketSize)
	stranger := probeBytes(2, 1)
	if n := testing.AllocsPerRun(1000, func() {
		copy(b, probe)
		r.datagram(b, alice, 0)
		copy(b, stranger)
		r.datagram(b, alice, 0)
	}); n > 0 {
		t.Errorf("%v allocations for each answer", n)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Serve(ctx, Service{Listen: "127.0.0.1:0"}, quiet()); err != nil {
		t.Errorf("Serve = %v, want none", err)
	}
}

func TestServeTellsWhatFails(t *testing.T) {
	taken := startReflector(t)
	for _, addr := range []string{taken, "127.0.0.1", "nonsense:port"} {
		if err := Serve(context.Background(), Service{Listen: addr}, quiet()); err == nil {
			t.Errorf("Serve on %q is content", addr)
		}
	}
	for _, s := range []Service{
		{Listen: "127.0.0.1:0", Limits: Limits{Rate: -1}},
		{Listen: "127.0.0.1:0", Drop: func() error { return io.EOF }},
	} {
		if err := Serve(context.Background(), s, quiet()); err == nil {
			t.Errorf("Serve with %+v is content", s)
		}
	}
}

// A port that is free for TCP only is not taken permanently where any will do.
func TestListenTakesAPortFreeForBoth(t *testing.T) {
	const host, taken, turns = "127.0.0.9", 1000, 200 // of 28,000 ports; one in 28 turns meets a taken one
	for range taken {
		conn, err := net.ListenPacket("udp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	for range turns {
		udp, tcp, err := Listen(host + ":0")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(udp.Close(), tcp.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// strangeAnswer is what no client sends.
var strangeAnswer = encoded(wire.Packet{Kind: wire.Answer, Session: 7, Seq: 8, Sent: 9 * time.Millisecond,
	Instance: 10, Count: 11})

func encoded(p wire.Packet) []byte {
	b := make([]byte, wire.PacketSize)
	p.Put(b)
	return b
}
