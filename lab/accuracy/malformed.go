package accuracy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// lull is how many datagrams are sent between two looks at whether the reflector
	// keeps up: what its socket cannot hold would never reach it.
	lull = 1000
	// malformedSize is the longest of them.
	malformedSize = 200
)

// reflectorMalformed sends random datagrams to a reflector and says how much larger
// it is afterwards than after the first tenth; it must still answer, and must have
// answered no more bytes than were sent. Half of the datagrams are probes in which a
// few bytes are wrong.
func reflectorMalformed(ctx context.Context, o Options) ([]Result, error) {
	r := Result{Name: ReflectorMalformed, Unit: "MiB grown"}
	_, err := o.withTestbed(ctx, func(ctx context.Context, b *testbed) error {
		probe, err := sample(ctx)
		if err != nil {
			return err
		}
		var t thrower
		begun := time.Now()
		if err := b.throw(ctx, &t, probe, max(o.Malformed/10, 1)); err != nil {
			return err
		}
		before, err := resident(b.server.Process.Pid)
		if err != nil {
			return err
		}
		for range o.Repeat {
			if err := b.throw(ctx, &t, probe, o.Malformed); err != nil {
				return err
			}
			after, err := resident(b.server.Process.Pid)
			if err != nil {
				return err
			}
			r.Ours = append(r.Ours, after-before)
		}
		if t.back > t.bytes {
			return fmt.Errorf("the reflector answered %d bytes to %d", t.back, t.bytes)
		}
		alive, err := b.ours(ctx, 1)
		if err != nil || alive.answered == 0 {
			return fmt.Errorf("the reflector does not answer any more: %w", errors.Join(err, ctx.Err()))
		}
		r.Notes = append(r.Notes, fmt.Sprintf("%d random datagrams of %d bytes in %s, all read; %d bytes of answers; %.1f MiB resident after the first tenth of a turn",
			t.sent, t.bytes, time.Since(begun).Round(time.Second), t.back, before))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []Result{r}, nil
}

// sample is a probe, as it comes from the probe itself.
func sample(ctx context.Context) ([]byte, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()
	done := make(chan error, 1)
	go func() {
		_, err := blackout.Watch(ctx, blackout.Config{Targets: []string{"udp://" + conn.LocalAddr().String()},
			Linger: time.Millisecond})
		done <- err
	}()
	buf := make([]byte, malformedSize)
	n, err := conn.Read(buf)
	cancel()
	return buf[:n], errors.Join(err, <-done)
}

// thrower counts what was thrown and what came back.
type thrower struct{ sent, bytes, back int }

// throw sends so many random datagrams, and waits each time until the reflector has
// read them.
func (b *testbed) throw(ctx context.Context, t *thrower, probe []byte, count int) error {
	var failed error
	err := b.client.do(func() {
		conn, err := net.Dial("udp4", b.at(port))
		if err != nil {
			failed = err
			return
		}
		defer conn.Close()
		udp := conn.(*net.UDPConn)
		buf := make([]byte, malformedSize)
		for sent := 0; sent < count && failed == nil; sent += lull {
			for range min(lull, count-sent) {
				n, err := conn.Write(malformedInput(buf, probe))
				if err != nil {
					failed = err
					return
				}
				t.sent, t.bytes = t.sent+1, t.bytes+n
			}
			failed = errors.Join(b.drained(ctx), t.collect(udp))
		}
	})
	return errors.Join(err, failed)
}

// malformedInput fills buf with a random datagram.
func malformedInput(buf, probe []byte) []byte {
	if rand.IntN(2) == 0 {
		buf = buf[:rand.IntN(len(buf)+1)]
		for i := range buf {
			buf[i] = byte(rand.Uint32())
		}
		return buf
	}
	buf = buf[:copy(buf, probe)]
	for range rand.IntN(4) {
		buf[rand.IntN(len(buf))] = byte(rand.Uint32())
	}
	return buf[:len(buf)-rand.IntN(2)]
}

// drained waits until the reflector's socket is empty; an error when it dropped
// something, or does not read it.
func (b *testbed) drained(ctx context.Context) error {
	for begun := time.Now(); time.Since(begun) < patience; {
		waiting, dropped, err := b.socket()
		switch {
		case err != nil:
			return err
		case dropped > 0:
			return fmt.Errorf("the reflector's socket dropped %d datagrams", dropped)
		case waiting == 0:
			return ctx.Err()
		}
		_ = wait.For(ctx, 50*time.Microsecond)
	}
	return errors.New("the reflector does not read its socket any more")
}

// socket says how many bytes wait in the reflector's UDP socket, and how many
// datagrams it dropped (proc(5), /proc/net/udp).
func (b *testbed) socket() (waiting, dropped int, err error) {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", b.server.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 13 || !strings.HasSuffix(fields[1], ":1B5F") { // port
			continue
		}
		_, queue, _ := strings.Cut(fields[4], ":")
		_, err := fmt.Sscanf(queue+" "+fields[12], "%x %d", &waiting, &dropped)
		return waiting, dropped, err
	}
	return 0, 0, errors.New("the reflector has no UDP socket any more")
}

// collect reads the answers that are there.
func (t *thrower) collect(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 2048)
	return raw.Control(func(fd uintptr) {
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			t.back += n
		}
	})
}

// resident is the resident memory of a process, in MiB.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, fmt.Errorf("read the size of process %d: %w", pid, err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20), nil
}
