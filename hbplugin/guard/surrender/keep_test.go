package surrender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// connection is one of this process with itself.
func connection(t *testing.T) net.Conn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// A guard is killed after its guests are, and before their sockets are destroyed: the next one that finds no guest proves
// the node empty only without those sockets.
func TestTheNextGuardKnowsTheSockets(t *testing.T) {
	connection(t)
	mine, path := own(t), filepath.Join(t.TempDir(), "guard.sockets")
	synctest.Test(t, func(t *testing.T) {
		ctx, kill := context.WithCancel(t.Context())
		first := &Killer{List: func(context.Context) ([]hostproc.Process, error) {
			return []hostproc.Process{{PID: os.Getpid()}}, nil
		}}
		go first.Keep(ctx, path, func(err error) { t.Error(err) })
		synctest.Wait()
		if _, err := first.look(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		kill()

		next := &Killer{List: func(context.Context) ([]hostproc.Process, error) { return nil, nil }}
		next.Recall(filepath.Join(t.TempDir(), "missing"), path)
		for _, s := range mine {
			got, known := next.sockets[s.id.Cookie]
			if !known || got.process != s.process ||
				!bytes.Equal(destroyRequest(got).Serialize(), destroyRequest(s).Serialize()) {
				t.Errorf("%+v is known as %+v", s, got)
			}
		}
		if _, err := next.look(t.Context()); err != nil || len(next.sockets) == 0 {
			t.Errorf("after a look: %d sockets, %v", len(next.sockets), err)
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := next.Prove(short)
		left := slices.ContainsFunc(own(t), func(s socket) bool { return s.id.Cookie == mine[0].id.Cookie })
		if left == (err == nil) {
			t.Errorf("proven with %v, while the socket is there: %v", err, left)
		}
	})
}

// A file of another boot, one that is broken and none at all are no error, and nothing is known then.
func TestRecallNothing(t *testing.T) {
	good := keptSocket{Family: unix.AF_INET, ID: netlink.SocketID{Cookie: [2]uint32{7, 0}}}
	alien := keptSocket{Family: unix.AF_UNIX, ID: netlink.SocketID{Cookie: [2]uint32{8, 0}}}
	for name, test := range map[string]struct {
		content any
		known   int
	}{
		"this boot":       {kept{thisBoot(), []keptSocket{good, alien}}, 1},
		"another boot":    {kept{"another", []keptSocket{good}}, 0},
		"no boot":         {kept{"", []keptSocket{good}}, 0},
		"not of our kind": {[]int{1}, 0},
		"a missing file":  {nil, 0},
	} {
		path := filepath.Join(t.TempDir(), "sockets")
		if test.content != nil {
			content, err := json.Marshal(test.content)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k := new(Killer)
		if k.Recall(path); len(k.sockets) != test.known {
			t.Errorf("%s: %d sockets", name, len(k.sockets))
		}
	}
}

// However many sockets there are, a file of them is one that is read, and it has the newest.
func TestKeptSize(t *testing.T) {
	k := &Killer{sockets: map[cookie]socket{}}
	long := net.ParseIP("2001:db8:1234:5678:9abc:def0:1234:5678")
	for i := range uint32(2 * maxKept) {
		id := netlink.SocketID{SourcePort: 65535, DestinationPort: 65535, Source: long, Destination: long,
			Interface: 1<<32 - 1, Cookie: [2]uint32{i, 1<<32 - 1}}
		k.sockets[id.Cookie] = socket{family: unix.AF_INET6, id: id, process: 4194304}
	}
	content, _, err := k.content()
	if err != nil || len(content) > maxFile {
		t.Fatalf("%d bytes, %v", len(content), err)
	}
	path, next := filepath.Join(t.TempDir(), "sockets"), new(Killer)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	next.Recall(path)
	if _, newest := next.sockets[cookie{2*maxKept - 1, 1<<32 - 1}]; len(next.sockets) != maxKept || !newest {
		t.Errorf("%d sockets are known, the newest: %v", len(next.sockets), newest)
	}
}

// What cannot be written is said once, written again, and waited for by nobody.
func TestKeepFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "sockets")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		k := &Killer{List: func(context.Context) ([]hostproc.Process, error) { return nil, nil }}
		k.take([]socket{{family: unix.AF_INET, id: netlink.SocketID{Source: net.IPv4zero, Destination: net.IPv4zero}}}, nil)
		failed := make(chan error) // nobody receives for now: the write hangs
		go k.Keep(ctx, path, func(err error) { failed <- err })
		synctest.Wait()
		if err := k.Prove(ctx); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		time.Sleep(3 * retry) // the next errors are not said: nobody receives them
		synctest.Wait()
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retry)
		synctest.Wait()
		if content, err := os.ReadFile(path); err != nil || !strings.Contains(string(content), thisBoot()) {
			t.Errorf("%q, %v", content, err)
		}
	})
}

// A socket that is closed is forgotten, and one that a list has missed is not.
func TestForgetClosed(t *testing.T) {
	k := new(Killer)
	s := socket{family: unix.AF_INET, id: netlink.SocketID{Cookie: [2]uint32{1, 0}}}
	none, one := []socket{}, []socket{s}
	for i, all := range [][]socket{one, none, none, one, none, none} {
		if k.take(one[:1-min(i, 1)], all); len(k.sockets) != 1 {
			t.Fatalf("forgotten after list %d", i)
		}
	}
	version := k.version
	if k.take(nil, none); len(k.sockets) != 0 || k.version == version {
		t.Errorf("%d are known, version %d after %d", len(k.sockets), k.version, version)
	}
}
