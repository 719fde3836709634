package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/roottest"
)

// serve answers at a socket of its own.
func serve(t *testing.T, answer func(context.Context, Request) Reply) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "guard.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { Serve(ctx, l, answer); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return socket
}

func call(t *testing.T, socket string, r Request) (Reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return Call(ctx, socket, r)
}

func TestCall(t *testing.T) {
	socket := serve(t, func(ctx context.Context, r Request) Reply {
		until, ok := ctx.Deadline()
		left := time.Until(until)
		return Reply{OK: ok && left > 5*time.Second && left <= 10*time.Second && int(r.UID) == os.Geteuid(), Why: string(r.Verb) + " " + r.Node,
			Status: []byte(`{"a":1}`)}
	})
	reply, err := call(t, socket, Request{Verb: Fence, Node: "beta"})
	if err != nil || !reply.OK || reply.Why != "fence beta" || string(reply.Status) != `{"a":1}` {
		t.Errorf("%+v, %v", reply, err)
	}
}

// Whoever can make a socket at a path that an agent is given cannot say that a node is fenced.
func TestGuardOfAnotherUser(t *testing.T) {
	roottest.Need(t)
	socket := fmt.Sprintf("@vmferry-%d", os.Getpid())
	listener := make(chan *net.UnixListener)
	go func() {
		runtime.LockOSThread() // and ends with the goroutine: it is nobody's then
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			t.Error(errno)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
		if err != nil {
			t.Error(err)
		}
		listener <- l
	}()
	l := <-listener
	if l == nil {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go Serve(ctx, l, func(context.Context, Request) Reply { return Reply{OK: true} })
	if reply, err := call(t, socket, Request{Verb: Fence, Node: "beta"}); err == nil {
		t.Errorf("a user's process says: %+v", reply)
	} else if !strings.Contains(err.Error(), "user 65534 is at the other end") {
		t.Error(err)
	}
}

// A guard that cannot take a connection for a while, as it has no descriptor left, answers the next ones.
func TestAcceptFails(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "guard.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { Serve(ctx, l, func(context.Context, Request) Reply { return Reply{OK: true} }); close(done) }()
	select {
	case <-done:
		t.Fatal("it serves nobody any more")
	case <-time.After(100 * time.Millisecond):
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if reply, err := call(t, socket, Request{Verb: Status}); err != nil || !reply.OK {
		t.Errorf("%+v, %v", reply, err)
	}
	cancel()
	<-done
}

func TestNoGuard(t *testing.T) {
	_, err := call(t, filepath.Join(t.TempDir(), "none.sock"), Request{Verb: Status})
	if !errors.Is(err, ErrNoGuard) || !strings.Contains(err.Error(), "systemctl start vmferry-guard") {
		t.Errorf("%v", err)
	}
	if _, err := Call(context.Background(), "", Request{}); err == nil {
		t.Error("a call without a deadline")
	}
}

// A caller that goes away ends the request.
func TestCallerGone(t *testing.T) {
	ended := make(chan struct{})
	begun := make(chan struct{})
	socket := serve(t, func(ctx context.Context, _ Request) Reply {
		close(begun)
		<-ctx.Done()
		close(ended)
		return Reply{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	failed := make(chan error)
	go func() { _, err := Call(ctx, socket, Request{Verb: Fence}); failed <- err }()
	<-begun
	cancel()
	<-ended
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What is no request gets no answer, and hurts nobody.
func TestGarbage(t *testing.T) {
	socket := serve(t, func(context.Context, Request) Reply { t.Error("it was asked"); return Reply{} })
	for _, sent := range []string{"\n", "{\n", strings.Repeat("x", 128<<10)} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(sent))
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%.10q: %d bytes of answer", sent, n)
		}
		_ = conn.Close()
	}
}

func TestAskMayRun(t *testing.T) {
	for name, test := range map[string]struct {
		reply Reply
		want  string
	}{
		"yes": {Reply{OK: true}, ""},
		"no":  {Reply{Why: "node beta does not hold its lease"}, "node beta does not hold its lease: type vmferry guard status"},
	} {
		socket := serve(t, func(_ context.Context, r Request) Reply {
			if r.Verb != MayRun || r.Node != "beta" {
				t.Errorf("asked %+v", r)
			}
			return test.reply
		})
		if err := AskMayRun(t.Context(), socket, "beta"); (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := AskMayRun(t.Context(), filepath.Join(t.TempDir(), "none.sock"), ""); !errors.Is(err, ErrNoGuard) {
		t.Errorf("no guard: %v", err)
	}
	silent := filepath.Join(t.TempDir(), "guard.sock") // it is stopped, or stuck: nobody accepts
	l, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := AskMayRun(ctx, silent, ""); err == nil || !strings.Contains(err.Error(), "type systemctl restart vmferry-guard") {
		t.Errorf("a silent guard: %v", err)
	}
}
