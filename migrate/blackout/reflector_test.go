package blackout

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

func probeBytes(session, seq uint64) []byte {
	return encoded(packet{kind: kindProbe, session: session, seq: seq})
}

// ask sends b and returns the answer to the probe that follows it: whatever b
// did, the reflector must still be there, and must not have answered more.
func ask(t *testing.T, conn net.Conn, b []byte) packet {
	t.Helper()
	buf := make([]byte, 4096)
	for _, part := range [][]byte{b, probeBytes(99, 1)} {
		if _, err := conn.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePacket(buf[:n], kindAnswer)
	if err != nil || n != PacketSize {
		t.Fatalf("answer %x: %v", buf[:n], err)
	}
	return p
}

func TestReflectorSurvivesGarbage(t *testing.T) {
	conn, err := net.Dial("udp", startReflector(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var instance uint64
	for _, b := range [][]byte{
		{}, {0}, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, PacketSize), make([]byte, 1400),
		probeBytes(1, 0), probeBytes(1, 1)[:PacketSize-1], encoded(samplePacket),
	} {
		p := ask(t, conn, b)
		if p.session != 99 || p.count != 1 || instance != 0 && p.instance != instance {
			t.Errorf("after %x: %+v, want session 99, count 1 and the same instance", b, p)
		}
		instance = p.instance
	}
}

func TestReflectorAnswersNoMoreThanItReceived(t *testing.T) {
	conn, err := net.Dial("udp", startReflector(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(append(probeBytes(1, 1), make([]byte, 1000)...)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, err := conn.Read(buf); err != nil || n != PacketSize {
		t.Errorf("%d bytes, %v; want %d", n, err, PacketSize)
	}
}

func TestCountersAreSharedByUDPAndTCP(t *testing.T) {
	addr := startReflector(t)
	var got []packet
	for seq, network := range []string{"udp", "tcp", "udp"} {
		conn, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(probeBytes(5, uint64(seq+1))); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, PacketSize)
		if _, err := io.ReadFull(conn, buf); err != nil {
			t.Fatal(err)
		}
		p, err := parsePacket(buf, kindAnswer)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	for i, p := range got {
		if p.count != uint64(i+1) || p.instance != got[0].instance {
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
		"cut short":          {three[:PacketSize+5], nil, 1, nil},
		"garbage":            {append(bytes.Clone(three), many[1:]...), []int{len(three)}, 3, errPacket},
		"a web browser":      {[]byte("GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n"), nil, 0, errPacket},
	}
	for name, tt := range tests {
		rw := &pieces{in: tt.in, sizes: tt.sizes}
		err := NewReflector(quiet()).answerStream(rw)
		if !errors.Is(err, tt.err) || rw.out.Len() != tt.want*PacketSize {
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
		_ = NewReflector(quiet()).answerStream(rw)
		if rw.out.Len() > len(in) {
			t.Errorf("%d bytes answer %d", rw.out.Len(), len(in))
		}
	})
}

func TestAnsweringDoesNotAllocate(t *testing.T) {
	r := NewReflector(quiet())
	probe, b := probeBytes(1, 1), make([]byte, PacketSize)
	if n := testing.AllocsPerRun(1000, func() { copy(b, probe); r.answer(b) }); n > 0 {
		t.Errorf("%v allocations for each answer", n)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Serve(ctx, "127.0.0.1:0", quiet()); err != nil {
		t.Errorf("Serve = %v, want none", err)
	}
}

func TestServeTellsWhatFails(t *testing.T) {
	taken := startReflector(t)
	for _, addr := range []string{taken, "127.0.0.1", "nonsense:port"} {
		if err := Serve(context.Background(), addr, quiet()); err == nil {
			t.Errorf("Serve on %q is content", addr)
		}
	}
}
