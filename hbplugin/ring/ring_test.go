package ring

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

const corosync = `
# ring0_addr: 192.0.2.99
totem {
	version: 2
	cluster_name: prod
	interface {
		ringnumber: 0
		bindnetaddr: 192.0.2.0
		member {
			memberaddr: 192.0.2.11
		}
	}
}
nodelist {
	node {
		ring0_addr: 192.0.2.1
		ring1_addr: 2001:db8::1
		name: n1
		nodeid: 1
	}
	node {
		ring0_addr:	n2-ring
		name: n2
	}
}
quorum {
	device {
		model: net
		net {
			host: 192.0.2.20
			algorithm: ffsplit
		}
	}
}
logging {
	logger_subsys {
		name: QUORUM
	}
}
`

const heartbeat = `# node n9
cluster linux-ha
node n3 n4   # both
node n5
ucast eth0 192.0.2.3
ucast eth1 n4-link
mcast eth2 225.0.0.1 694 1 0
ping 192.0.2.254
ping_group gateways 192.0.2.253 192.0.2.252
ucast
ping_group alone
crm no
`

func TestParse(t *testing.T) {
	want := hosts{
		links: []string{"192.0.2.11", "192.0.2.1", "2001:db8::1", "n2-ring", "192.0.2.20"}, nodes: []string{"n1", "n2"}, cluster: "prod",
	}
	if got := parseCorosync(corosync); !reflect.DeepEqual(got, want) {
		t.Errorf("corosync.conf: %+v, want %+v", got, want)
	}
	want = hosts{
		links: []string{"192.0.2.3", "n4-link", "192.0.2.254", "192.0.2.253", "192.0.2.252"},
		nodes: []string{"n3", "n4", "n5"}, cluster: "linux-ha",
	}
	if got := parseHeartbeat(heartbeat); !reflect.DeepEqual(got, want) {
		t.Errorf("ha.cf: %+v, want %+v", got, want)
	}
}

func write(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestAddresses(t *testing.T) {
	root := t.TempDir()
	write(t, root, CorosyncConf, corosync)
	write(t, root, haCf, "node n3\nucast eth0 gone\n")
	known := map[string]string{"n2-ring": "::ffff:192.0.2.2", "n1": "192.0.2.1", "n3-mig": "198.51.100.3"}
	asked := 0
	r := &Reader{
		Root: root, Also: func(node string) []string { return []string{node + "-mig"} },
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			a, ok := known[host]
			if host == "gone" {
				asked++
			}
			if !ok {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr(a)}, nil
		},
	}
	var want []netip.Addr
	for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.11", "192.0.2.20", "198.51.100.3", "2001:db8::1"} {
		want = append(want, netip.MustParseAddr(a))
	}
	for range 3 {
		got, err := r.Addresses(t.Context())
		if err == nil || !strings.Contains(err.Error(), `"gone"`) || strings.Contains(err.Error(), `"n2"`) {
			t.Errorf("the error is %v", err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestNoCluster(t *testing.T) {
	if got, err := (&Reader{Root: t.TempDir()}).Addresses(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// What is no regular file is not waited for, and a large one not read.
func TestHostileFiles(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a pipe":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"a device":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"a large one": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 10<<30))
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, CorosyncConf)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), make(path)); err != nil {
				t.Fatal(err)
			}
			if got, err := (&Reader{Root: root}).Addresses(t.Context()); err == nil || len(got) > 0 {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// A resolver that does not answer is waited for a second, once.
func TestResolverHangs(t *testing.T) {
	root := t.TempDir()
	write(t, root, haCf, "ucast eth0 n1\nucast eth1 192.0.2.2\n")
	synctest.Test(t, func(t *testing.T) {
		r := &Reader{Root: root, Resolve: func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		for _, took := range []time.Duration{resolveTime, 0} {
			began := time.Now()
			got, err := r.Addresses(t.Context())
			if err == nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("192.0.2.2")}) ||
				time.Since(began) != took {
				t.Errorf("got %v, %v after %v", got, err, time.Since(began))
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{corosync, heartbeat, "}\n}\nnode {\nname:", "{", "ucast\x00 a", "ring_addr: x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, h := range []hosts{parseCorosync(text), parseHeartbeat(text)} {
			for _, name := range append(h.links, h.nodes...) {
				if name == "" || strings.TrimSpace(name) != name {
					t.Errorf("%q has the host %q", text, name)
				}
			}
		}
	})
}
