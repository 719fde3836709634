package light

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// start runs a reflector on a free port of loopback, and ends it with the test.
func start(t *testing.T) (addr netip.AddrPort, pid int) {
	t.Helper()
	for {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr = netip.MustParseAddrPort(l.Addr().String())
		l.Close()
		if pid = startAt(t, addr); pid != 0 {
			return addr, pid
		}
	}
}

// startAt returns 0 when another process took the port meanwhile.
func startAt(t *testing.T, addr netip.AddrPort) int {
	t.Helper()
	runtime.LockOSThread() // the reflector lives as long as its thread
	t.Cleanup(runtime.UnlockOSThread)
	pid, err := Start(addr)
	if err != nil {
		if strings.Contains(err.Error(), "address already in use") {
			return 0
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { end(pid) })
	return pid
}

// end is for a process that may have ended already, and was collected then.
func end(pid int) {
	if syscall.Kill(pid, 0) == nil {
		syscall.Kill(pid, syscall.SIGKILL)
		syscall.Wait4(pid, nil, 0, nil)
	}
}

// probe is a probe as blackout's packet.go lays it out.
func probe(session, seq uint64) []byte {
	b := append([]byte("vmfB"), 2, 1, 0, 0)
	b = binary.BigEndian.AppendUint64(b, session)
	b = binary.BigEndian.AppendUint64(b, seq)
	return append(b, make([]byte, packetSize-len(b))...)
}

// counted reads one answer to the probe and returns its instance and count.
func counted(t *testing.T, r io.Reader, probe []byte) (instance, count uint64) {
	t.Helper()
	got := make([]byte, packetSize)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(probe[:32]), got[32:]...)
	want[5] = 2
	if !bytes.Equal(got, want) {
		t.Fatalf("got  %x\nwant %x", got, want)
	}
	return binary.BigEndian.Uint64(got[32:]), binary.BigEndian.Uint64(got[40:])
}

func dial(t *testing.T, network string, addr netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial(network, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// harm is what a relay does to a probe and its answer.
type harm struct{ dropOut, dropBack, twice bool }

// harms are by sequence number, and early ones only: what is lost last is not settled at the end of a run.
func harms(seq uint64) harm {
	if seq > 80 {
		return harm{}
	}
	return harm{dropOut: seq%10 == 3, dropBack: seq%10 == 6 || seq%10 == 7, twice: seq%10 == 9}
}

// relay is between a client and the reflector, and calls enough when it has passed the 120th answer.
func relay(t *testing.T, to netip.AddrPort, enough func()) (addr string, out, back *atomic.Uint64) {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	behind := dial(t, "udp4", to)
	t.Cleanup(func() { front.Close() })
	out, back = new(atomic.Uint64), new(atomic.Uint64)
	var client atomic.Pointer[netip.AddrPort]
	go func() {
		for b := make([]byte, 2*packetSize); ; {
			n, from, err := front.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			client.Store(&from)
			h := harms(binary.BigEndian.Uint64(b[16:]))
			if h.dropOut {
				out.Add(1)
				continue
			}
			behind.Write(b[:n])
			if h.twice {
				behind.Write(b[:n])
			}
		}
	}()
	go func() {
		for b := make([]byte, 2*packetSize); ; {
			n, err := behind.Read(b)
			if err != nil {
				return
			}
			seq := binary.BigEndian.Uint64(b[16:])
			if harms(seq).dropBack {
				back.Add(1)
				continue
			}
			front.WriteToUDPAddrPort(b[:n], *client.Load())
			if seq >= 120 {
				enough()
			}
		}
	}()
	return front.LocalAddr().String(), out, back
}

// TestLosses: the probe itself, over a network that loses and doubles, learns how much was lost in each direction.
func TestLosses(t *testing.T) {
	addr, _ := start(t)
	ctx, enough := context.WithTimeout(t.Context(), time.Minute)
	defer enough()
	via, out, back := relay(t, addr, enough)
	rep, err := blackout.Watch(ctx, blackout.Config{
		Targets: []string{"udp://" + via}, Interval: 2 * time.Millisecond, Linger: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := rep.Targets[0]
	if out.Load() == 0 || back.Load() == 0 {
		t.Fatalf("nothing was lost: %+v", got)
	}
	if !got.Directed || got.LostOut != out.Load() || got.LostBack != back.Load() || got.Unsettled != 0 ||
		got.Instances != 1 {
		t.Errorf("lost %d out and %d back, got %+v", out.Load(), back.Load(), got)
	}
	if got.Duplicates == 0 {
		t.Error("doubled probes were not answered twice")
	}
}

// TestWatch: both protocols at once, without loss.
func TestWatch(t *testing.T) {
	addr, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep, err := blackout.Watch(ctx, blackout.Config{
		Targets:  []string{"udp://" + addr.String(), "tcp://" + addr.String()},
		Interval: time.Millisecond, Linger: 5 * time.Second, ProgressEvery: 20 * time.Millisecond,
		Progress: func(p []blackout.Progress) {
			if p[0].Answered > 100 && p[1].Answered > 100 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range rep.Targets {
		if got.Answered <= 100 || got.Lost != 0 || !got.Directed || got.Resets != 0 || got.Instances != 1 {
			t.Errorf("%+v", got)
		}
	}
}

// TestConnections: as many clients at once as there are places, each with probes that come in pieces.
func TestConnections(t *testing.T) {
	addr, _ := start(t)
	var all sync.WaitGroup
	for i := range uint64(maxSessions) {
		c := dial(t, "tcp4", addr)
		all.Go(func() {
			var stream []byte
			for seq := range uint64(20) {
				stream = append(stream, probe(i+1, seq+1)...)
			}
			go func() {
				for piece := range slices.Chunk(stream, int(31+i)) {
					c.Write(piece)
				}
			}()
			for seq := range uint64(20) {
				if _, count := counted(t, c, probe(i+1, seq+1)); count != seq+1 {
					t.Errorf("client %d: count %d after %d probes", i, count, seq+1)
				}
			}
		})
	}
	all.Wait()
}

// TestSlowClient: who takes no answers is read no further, and gets all of them when he takes them.
func TestSlowClient(t *testing.T) {
	const probes = 500_000 // more than all buffers on the way hold
	addr, _ := start(t)
	c := dial(t, "tcp4", addr)
	c.(*net.TCPConn).SetReadBuffer(64 << 10)
	var stream []byte
	for seq := range uint64(probes) {
		stream = append(stream, probe(7, seq+1)...)
	}
	c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	n, err := c.Write(stream)
	if err == nil {
		t.Fatal("the buffers never filled")
	}
	c.SetWriteDeadline(time.Time{})
	other := dial(t, "tcp4", addr)
	other.Write(probe(8, 1))
	if _, count := counted(t, other, probe(8, 1)); count != 1 {
		t.Errorf("another client: count %d", count)
	}
	go c.Write(stream[n:])
	in := bufio.NewReader(c)
	for seq := range uint64(probes) {
		if _, count := counted(t, in, probe(7, seq+1)); count != seq+1 {
			t.Fatalf("count %d after %d probes", count, seq+1)
		}
	}
}

// TestOldestConnectionGoes: a client that has left the table sees the end of its connection, a new one is served.
func TestOldestConnectionGoes(t *testing.T) {
	addr, _ := start(t)
	var conns []net.Conn
	for i := range maxConns + 1 {
		c := dial(t, "tcp4", addr)
		c.Write(probe(1, uint64(i+1)))
		counted(t, c, probe(1, uint64(i+1)))
		conns = append(conns, c)
	}
	if n, err := conns[0].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the oldest connection: %d bytes, %v", n, err)
	}
	conns[1].Write(probe(1, 1000))
	counted(t, conns[1], probe(1, 1000))
}

// TestOldestSessionGoes: the 65th session takes the place of the one that was idle longest.
func TestOldestSessionGoes(t *testing.T) {
	addr, _ := start(t)
	c := dial(t, "udp4", addr)
	ask := func(session, seq uint64) uint64 {
		c.Write(probe(session, seq))
		_, count := counted(t, c, probe(session, seq))
		return count
	}
	for session := range uint64(maxSessions) {
		ask(session, 1) // 0 is a session as any other
	}
	if got := ask(0, 2); got != 2 {
		t.Errorf("session 0: count %d, want 2", got)
	}
	ask(1000, 1)
	if got := ask(1, 2); got != 1 {
		t.Errorf("session 1 should have gone, and has a count of %d", got)
	}
	if got := ask(0, 3); got != 3 {
		t.Errorf("session 0 should have stayed: count %d, want 3", got)
	}
}

// TestRefuses: what is no probe gets no answer, and ends a connection.
func TestRefuses(t *testing.T) {
	addr, _ := start(t)
	answer := probe(1, 1)
	answer[5] = 2
	text := []byte(strings.Repeat("x", 2*packetSize))
	for name, b := range map[string][]byte{"answer": answer, "number 0": probe(1, 0), "text": text} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, "tcp4", addr)
			c.Write(b)
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("TCP: %d bytes, %v", n, err)
			}
			u := dial(t, "udp4", addr)
			u.Write(b)
			u.Write(b[:10])
			u.Write(nil)
			u.Write(append(probe(2, 1), "and more"...))
			counted(t, u, probe(2, 1)) // the first answer is that of the only probe
		})
	}
}

// TestProcess: the child has one thread, no signals, and nothing of its parent's but its standard files.
func TestProcess(t *testing.T) {
	mine, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	addr, pid := start(t)
	c := dial(t, "tcp4", addr) // it has closed what it inherited before it answers
	c.Write(probe(1, 1))
	counted(t, c, probe(1, 1))
	proc := fmt.Sprintf("/proc/%d", pid)
	if tasks, err := os.ReadDir(proc + "/task"); err != nil || len(tasks) != 1 {
		t.Errorf("threads: %v, %v", tasks, err)
	}
	if files, err := os.ReadDir(proc + "/fd"); err != nil || len(files) != 3+3+1 {
		t.Errorf("files: %v, %v", files, err)
	}
	status, err := os.ReadFile(proc + "/status")
	if err != nil || !strings.Contains(string(status), "\nSigBlk:\tfffffffffffbfeff\n") {
		t.Errorf("signals are not blocked: %v\n%s", err, status)
	}
	own, err := os.ReadFile("/proc/thread-self/status")
	if err != nil || !strings.Contains(string(own), "\nSigBlk:\t0000000000000000\n") {
		t.Errorf("the parent's signals: %v\n%s", err, own)
	}
}

// TestStartAgain: the next process is another instance, at the same port.
func TestStartAgain(t *testing.T) {
	addr, pid := start(t)
	ask := func() uint64 {
		c := dial(t, "tcp4", addr)
		c.Write(probe(1, 1))
		instance, _ := counted(t, c, probe(1, 1))
		return instance
	}
	first := ask()
	refused := func(addr netip.AddrPort, want string) {
		if _, err := Start(addr); err == nil || !strings.Contains(err.Error(), addr.String()+": "+want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	refused(addr, "bind: address already in use")
	refused(netip.MustParseAddrPort("[::1]:7007"), "not an IPv4 address")
	end(pid)
	if startAt(t, addr) == 0 {
		t.Fatal("the port is taken")
	}
	if second := ask(); second == first {
		t.Error("the same instance")
	}
}

// TestForkAtWork: a fork amid garbage collections, preemptions and goroutines makes a reflector that answers.
func TestForkAtWork(t *testing.T) {
	var stop atomic.Bool
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for kept := [][]byte{}; !stop.Load(); kept = append(kept, make([]byte, 4096)) {
				if len(kept) > 1000 {
					kept = nil
					runtime.GC()
				}
			}
		})
	}
	for range 20 {
		addr, pid := start(t)
		c := dial(t, "udp4", addr)
		c.Write(probe(1, 1))
		counted(t, c, probe(1, 1))
		end(pid)
	}
	stop.Store(true)
	work.Wait()
}

func TestAdd(t *testing.T) {
	const size = windowWords * 64
	for _, test := range []struct {
		name string
		seqs []uint64
		want uint64
	}{
		{"in order", []uint64{1, 2, 3}, 3},
		{"doubled", []uint64{1, 1, 2, 2}, 2},
		{"reordered", []uint64{5, 3, 4, 3}, 3},
		{"far ahead", []uint64{1, 10_000, 10_000, 9_999}, 3},
		{"oldest in the window", []uint64{size, 1, 1}, 2},
		{"below the window", []uint64{size + 1, 1}, 1},
		{"a gap of the whole window", []uint64{1, 1 + size, 1, 2}, 3},
		{"largest", []uint64{^uint64(0), ^uint64(0), 1}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s session
			for _, seq := range test.seqs {
				s.add(seq)
			}
			if s.count != test.want {
				t.Errorf("got %d, want %d", s.count, test.want)
			}
		})
	}
}

// FuzzAdd compares the window with a set that forgets nothing.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{1, 2, 2, 250, 3, 0, 9, 9})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var s session
		known, top := map[uint64]bool{}, uint64(0)
		for i, step := range steps {
			seq := uint64(step)*37 + uint64(i)*11 + 1
			top = max(top, seq)
			if top-seq < windowWords*64 {
				known[seq] = true
			}
			if s.add(seq); s.count != uint64(len(known)) {
				t.Fatalf("step %d: count %d, want %d", i, s.count, len(known))
			}
		}
	})
}

// FuzzAnswer: only a probe becomes an answer, all else is left as it is.
func FuzzAnswer(f *testing.F) {
	f.Add(probe(1, 1))
	f.Add(probe(1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(slices.Clone(b), make([]byte, packetSize)...)[:packetSize]
		isProbe := bytes.HasPrefix(b, probe(1, 1)[:8]) && binary.BigEndian.Uint64(b[16:]) != 0
		c := &conn{filled: packetSize}
		copy(c.buffer[:], b)
		if got := new(reflector).answerAll(c); got != isProbe || !isProbe && !bytes.Equal(c.buffer[:packetSize], b) {
			t.Errorf("%x: %v, %x", b, got, c.buffer[:packetSize])
		}
	})
}
