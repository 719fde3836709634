package bench

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// serveOne answers the requests of one connection as change makes them: what it returns is written.
func serveOne(t *testing.T, change func(n int, request []byte) (answer []byte, more bool)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	served.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		defer context.AfterFunc(t.Context(), func() { _ = conn.Close() })()
		b := make([]byte, wire.PacketSize)
		for n := 1; ; n++ {
			if _, err := io.ReadFull(conn, b); err != nil {
				return
			}
			answer, more := change(n, b)
			if _, err := conn.Write(answer); err != nil || !more {
				return
			}
		}
	})
	return l.Addr().String()
}

// The longest wait is that for the answer that was held up, and no request was sent meanwhile.
func TestRequests(t *testing.T) {
	const held = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var asked time.Time
	addr := serveOne(t, func(n int, b []byte) ([]byte, bool) {
		if n == 5 {
			asked = time.Now()
			<-time.After(held)
		}
		if n == 10 {
			cancel()
		}
		return b, true
	})
	wait, err := request(ctx, addr, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if wait.Longest < held || wait.At.After(asked) || wait.Answers < 9 {
		t.Errorf("%+v, asked at %s", wait, asked)
	}
}

// A request that is not answered at the end waited until then.
func TestRequestsOpen(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addr := serveOne(t, func(n int, b []byte) ([]byte, bool) {
		if n == 3 {
			time.AfterFunc(50*time.Millisecond, cancel)
			return nil, true
		}
		return b, true
	})
	wait, err := request(ctx, addr, time.Millisecond)
	if err != nil || wait.Answers != 2 || wait.Longest < 50*time.Millisecond {
		t.Errorf("%+v, %v", wait, err)
	}
}

func TestRequestsFail(t *testing.T) {
	for name, change := range map[string]func(int, []byte) ([]byte, bool){
		"the connection breaks": func(int, []byte) ([]byte, bool) { return nil, false },
		"another's answer": func(_ int, b []byte) ([]byte, bool) {
			b[23]++
			return b, true
		},
		"malformed": func(int, []byte) ([]byte, bool) { return make([]byte, wire.PacketSize), true },
	} {
		ctx := t.Context()
		addr := serveOne(t, change)
		if wait, err := request(ctx, addr, time.Millisecond); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: %+v, %v", name, wait, err)
		}
	}
	ctx := t.Context()
	if _, err := request(ctx, "127.0.0.1:1", time.Millisecond); err == nil {
		t.Error("nobody listens, and that is no error")
	}
}
