package mirrorfiles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/roottest"
	"github.com/vmferry/vmferry/resource/command"
)

// node is a node: a store, and a root of its own, which it sees at the place of the other's.
type node struct {
	Name, Dir, Root string
	At              string // where both see their root
	All             []config.Mirror
}

var must = roottest.Must

// TestMain plays the other node's vmferry-mirror, which the command ssh runs.
func TestMain(m *testing.M) {
	text := os.Getenv("PLAY")
	if text == "" {
		os.Exit(m.Run())
	}
	var n node
	err := json.Unmarshal([]byte(text), &n)
	if err == nil {
		err = unix.Mount(n.Root, n.At, "", unix.MS_BIND, "")
	}
	if mnt := os.Getenv("MOUNT"); err == nil && mnt != "" {
		err = unix.Mount(mnt, mnt, "", unix.MS_BIND, "")
	}
	if err == nil {
		e, words := Engine{Store: mirror.Store{Dir: n.Dir}}, strings.Fields(strings.Join(os.Args[1:], " ")) // as ssh does it
		err = e.Answer(context.Background(), words[2], words[3], words[4], n.Name, n.All)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmferry-mirror:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// pair are two nodes: what is at n1's root is there, what n2 has there is in another directory.
type pair struct {
	one, two node
	path     string // on both
	env      []string
	wrap     func(command.Runner) command.Runner
}

func newPair(t *testing.T) *pair {
	t.Helper()
	roottest.Need(t)
	for _, program := range []string{"rsync", "unshare"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "true" {
			t.Fatal(err)
		} else if err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	p := &pair{path: dir + "/at/tree"}
	for _, sub := range []string{"at", "root1", "root2", "store1", "store2"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	p.one = node{Name: "n1", Dir: dir + "/store1", Root: dir + "/root1", At: dir + "/at"}
	p.two = node{Name: "n2", Dir: dir + "/store2", Root: dir + "/root2", At: dir + "/at"}
	p.from("n1", "n1")
	return p
}

// from has each node's configuration say which node has the truth.
func (p *pair) from(one, two string) {
	p.one.All = []config.Mirror{{Path: p.path, From: one}}
	p.two.All = []config.Mirror{{Path: p.path, From: two}}
}

// send makes a round from one node to the other. The source's process has to see its root, too.
func (p *pair) send(t *testing.T, from, to node, checksum bool) (mirror.Point, error) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	must(t, unix.Mount(from.Root, from.At, "", unix.MS_BIND, ""))
	defer func() { must(t, unix.Unmount(from.At, unix.MNT_DETACH)) }()
	raw, err := json.Marshal(to)
	must(t, err)
	run := command.Execute(append(append(os.Environ(), "PLAY="+string(raw), "GORACE=atexit_sleep_ms=0"), p.env...))
	if p.wrap != nil {
		run = p.wrap(run)
	}
	e := Engine{Store: mirror.Store{Dir: from.Dir}, Run: run}
	at, _, err := e.Send(t.Context(), p.path, to.Name, []string{"unshare", "--mount", "--propagation", "slave", "--", self}, checksum)
	return at, err
}

// of is where a node has what is at a path below the shared place.
func (n node) of(path string) string { return filepath.Join(n.Root, strings.TrimPrefix(path, n.At)) }

func (n node) manifest(t *testing.T, path string) mirror.Manifest {
	t.Helper()
	m, err := mirror.Store{Dir: n.Dir}.Load(UUID(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return m
}

// tree is all of a path in words.
func tree(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(path, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var s unix.Stat_t
		must(t, unix.Lstat(at, &s))
		text, _ := os.Readlink(at)
		if s.Mode&unix.S_IFMT == unix.S_IFREG {
			raw, err := os.ReadFile(at)
			must(t, err)
			text = string(raw)
		}
		value := make([]byte, 64)
		n, _ := unix.Lgetxattr(at, "user.x", value)
		acl, _ := unix.Lgetxattr(at, "system.posix_acl_access", make([]byte, 256))
		fmt.Fprintf(&b, "%s %o %d:%d %x %d.%d %q %q %d\n", strings.TrimPrefix(at, path), s.Mode, s.Uid, s.Gid, s.Rdev, s.Mtim.Sec,
			s.Mtim.Nsec, text, value[:max(n, 0)], acl)
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return b.String()
}

// write makes a file, with what is above it.
func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// same fails where the nodes differ.
func (p *pair) same(t *testing.T, what string) {
	t.Helper()
	if a, b := tree(t, p.one.of(p.path)), tree(t, p.two.of(p.path)); a != b || a == "" {
		t.Errorf("%s:\n%s\nand the other node has\n%s", what, a, b)
	}
}

func (p *pair) good(t *testing.T, what string) mirror.Point {
	t.Helper()
	at, err := p.send(t, p.one, p.two, false)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	p.same(t, what)
	return at
}

// bad fails where a round is made, or anything at the other node changes.
func (p *pair) bad(t *testing.T, what, want string) {
	t.Helper()
	before, m := tree(t, p.two.of(p.path)), p.two.manifest(t, p.path)
	_, err := p.send(t, p.one, p.two, false)
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
	if after := tree(t, p.two.of(p.path)); after != before {
		t.Errorf("%s: the other node had\n%s\nand has\n%s", what, before, after)
	}
	if now := p.two.manifest(t, p.path); now.Point != m.Point || now.Role != m.Role {
		t.Errorf("%s: the manifest was of %v, and is of %v", what, m.Point, now.Point)
	}
}

func TestRounds(t *testing.T) {
	p := newPair(t)
	src := p.one.of(p.path)
	write(t, src+"/a", "1")
	write(t, src+"/sub/b", "bee")
	must(t, os.Chown(src+"/sub/b", 1234, 5678))
	must(t, os.Chmod(src+"/sub/b", 0o4750))
	must(t, os.Symlink("/nowhere", src+"/link"))
	must(t, unix.Mknod(src+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	must(t, unix.Setxattr(src+"/a", "user.x", []byte("y"), 0))
	// user::rw-, user:1234:r--, group::r--, mask::r--, other::--- as acl_ea.h of Linux has it
	acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xd2\x04\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")
	must(t, unix.Setxattr(src+"/a", "system.posix_acl_access", acl, 0))
	at := p.good(t, "the first round")
	if at != (mirror.Point{Epoch: 1, Generation: 1}) {
		t.Errorf("the first round is %v", at)
	}
	m := p.two.manifest(t, p.path)
	if m.Role != mirror.Replica || m.Point != at || m.Peer != "n1" || m.Guest != p.path || time.Since(m.Taken()) > time.Hour || m.Taken().IsZero() {
		t.Errorf("the copy's manifest: %+v", m)
	}
	if m := p.one.manifest(t, p.path); m.Role != mirror.Truth || m.Point != at || m.Peer != "n2" {
		t.Errorf("the truth's manifest: %+v", m)
	}
	// What was there is the base of the next round, but one, whatever it is.
	for i := range 4 {
		write(t, src+"/a", fmt.Sprint(i)) // of the same size, within the same second
		write(t, fmt.Sprintf("%s/sub%d/c", src, i), "see")
		must(t, os.RemoveAll(fmt.Sprintf("%s/sub%d", src, i-2)))
		if at := p.good(t, fmt.Sprint("round ", i)); at.Generation != uint64(i+2) {
			t.Errorf("round %d is %v", i, at)
		}
	}
	// A directory becomes a file, and one again.
	for i, change := range []func(){func() { write(t, src, "file") }, func() { write(t, src, "more") }, func() { write(t, src+"/d", "x") }} {
		must(t, os.RemoveAll(src))
		change()
		p.good(t, fmt.Sprint("another kind ", i))
	}
	if left, _ := filepath.Glob(p.two.Root + "/*"); len(left) != 2 {
		t.Errorf("there is %q", left)
	}
}

// Files that have the same size and time, and differ, need a look at all of them.
func TestChecksum(t *testing.T) {
	p := newPair(t)
	src, when := p.one.of(p.path)+"/a", time.Unix(1e9, 0)
	put := func(text string) { write(t, src, text); must(t, os.Chtimes(src, when, when)) }
	put("one")
	p.good(t, "first")
	p.good(t, "second")
	put("two")
	if _, err := p.send(t, p.one, p.two, true); err != nil {
		t.Fatal(err)
	}
	p.same(t, "compared")
}

func TestRefusals(t *testing.T) {
	p := newPair(t)
	src, dst := p.one.of(p.path), p.two.of(p.path)
	p.bad(t, "missing", "file does not exist")
	must(t, os.Symlink("/etc", src))
	p.bad(t, "a link", "it is a link, a device or a mount point")
	must(t, os.Remove(src))
	must(t, unix.Mkfifo(src, 0o600))
	p.bad(t, "a FIFO", "it is a link, a device or a mount point")
	must(t, os.Remove(src))
	write(t, src+"/a", "1")
	must(t, os.Symlink("/etc", dst))
	p.bad(t, "a link there", "vmferry-mirror: \""+p.path+"\": it is a link, a device or a mount point")
	must(t, os.Remove(dst))
	write(t, dst+"/theirs", "1")
	p.env = []string{"MOUNT=" + p.path}
	p.bad(t, "a mount point there", "it is a link, a device or a mount point")
	p.env = nil
	for _, n := range []node{p.one, p.two} {
		must(t, os.Chmod(n.Root, 0o777))
		p.bad(t, "a directory of everybody's, "+n.Name, "has to be root's alone")
		must(t, os.Chmod(n.Root, 0o700))
	}
	p.two.All = nil
	p.bad(t, "not configured there", "vmferryd.toml of node n2 has no such [[mirror]] to it")
	p.from("n1", "n2")
	p.bad(t, "both have the truth", "vmferryd.toml of node n2 has no such [[mirror]] to it")
	p.from("n1", "n1")
	p.two.All[0].Peer = "n3"
	p.bad(t, "it is for another node", "vmferryd.toml of node n2 has no such [[mirror]] to it")
	p.two.All[0].Peer = "N2"
	p.good(t, "at last")
	if text := tree(t, dst+mirror.OldSuffix); !strings.Contains(text, "/theirs") {
		t.Errorf("what no round has made is lost: %q", text)
	}
}

// The truth moves by the configuration, and the higher epoch counts.
func TestEpochs(t *testing.T) {
	p := newPair(t)
	src, dst := p.one.of(p.path), p.two.of(p.path)
	write(t, src+"/a", "1")
	p.good(t, "first")
	p.good(t, "second")
	// The source is reinstalled.
	manifest := p.one.Dir + "/" + UUID(p.path) + ".json"
	must(t, os.Rename(manifest, manifest+".lost"))
	write(t, src+"/a", "2")
	p.bad(t, "new", "the copy on node n2 is of round vmferry-1-2, and this is vmferry-1-1")
	must(t, os.Rename(manifest+".lost", manifest))
	// It fails, and n2 goes on.
	p.from("n1", "n2")
	write(t, dst+"/b", "new")
	if _, err := p.send(t, p.two, p.one, false); err == nil || !strings.Contains(err.Error(), "vmferryd.toml of node n1 has no such") {
		t.Errorf("the old truth is not told yet: %v", err)
	}
	p.bad(t, "the old truth", "of node n2 has no such [[mirror]] to it")
	p.from("n1", "n1")
	p.bad(t, "the old truth, everywhere", "this node has the current copy, of epoch 2")
	p.from("n2", "n2")
	for i := range 3 {
		at, err := p.send(t, p.two, p.one, false)
		if err != nil || at.Epoch != 2 {
			t.Fatalf("%v, %v", at, err)
		}
		p.same(t, fmt.Sprint("back ", i))
	}
	if text := tree(t, src+mirror.OldSuffix); !strings.Contains(text, `"2"`) {
		t.Errorf("the old truth is not kept: %q", text)
	}
	// And back; what is kept is not lost.
	p.from("n1", "n1")
	if at := p.good(t, "home"); at != (mirror.Point{Epoch: 3, Generation: 1}) {
		t.Errorf("%v", at)
	}
	p.from("n2", "n2")
	was := tree(t, src)
	if _, err := p.send(t, p.two, p.one, false); err == nil || !strings.Contains(err.Error(), mirror.OldSuffix+`": file exists`) || tree(t, src) != was {
		t.Errorf("a second old truth: %v", err)
	}
	must(t, os.RemoveAll(src+mirror.OldSuffix))
	if _, err := p.send(t, p.two, p.one, false); err != nil {
		t.Error(err)
	}
	p.same(t, "back again")
}

// A round that is cut short leaves the copy as it was, or makes it the whole new one.
func TestCut(t *testing.T) {
	p := newPair(t)
	src := p.one.of(p.path)
	for i := range 20 {
		write(t, fmt.Sprintf("%s/f%d", src, i), strings.Repeat("old", 1<<16))
	}
	p.good(t, "first")
	for i := range 20 {
		write(t, fmt.Sprintf("%s/f%d", src, i), strings.Repeat(fmt.Sprint(i), 1<<18))
	}
	for ms := 10; ms < 1000; ms *= 2 {
		p.wrap = func(run command.Runner) command.Runner {
			return func(ctx context.Context, name string, args ...string) (string, error) {
				if name != "rsync" {
					t.Errorf("%s after a round that was cut", args)
				}
				ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(ms)*time.Millisecond, errors.New("cut"))
				defer cancel()
				out, err := run(ctx, name, args...)
				if err == nil { // it was too quick
					err = errors.New("cut")
				}
				return out, err
			}
		}
		p.bad(t, "cut", "cut")
	}
	// The source cannot read a file, of which rsync at the other end does not learn.
	p.wrap = func(run command.Runner) command.Runner {
		return func(ctx context.Context, name string, args ...string) (string, error) {
			if name == "rsync" {
				args = append(args[:len(args)-1:len(args)-1], p.path+".none", args[len(args)-1])
			}
			return run(ctx, name, args...)
		}
	}
	p.bad(t, "unreadable", "exit status 23: rsync: [sender] link_stat ")
	// The switch does not get there; a later one is not for what was received before.
	var late []string
	p.wrap = func(run command.Runner) command.Runner {
		return func(ctx context.Context, name string, args ...string) (string, error) {
			if name != "rsync" {
				late = append([]string{name}, args...)
				return "", errors.New("the link is gone")
			}
			return run(ctx, name, args...)
		}
	}
	p.bad(t, "no switch", "the link is gone")
	p.wrap = func(run command.Runner) command.Runner {
		return func(ctx context.Context, name string, args ...string) (string, error) {
			if name != "rsync" {
				return run(ctx, late[0], late[1:]...)
			}
			return run(ctx, name, args...)
		}
	}
	p.bad(t, "a late switch", "is not the last that node n2 has received")
	p.wrap = nil
	p.good(t, "after all")
}

// Killed at any step of the switch: no copy is lost, and nothing is torn.
func TestKilledSwitch(t *testing.T) {
	p := newPair(t)
	src, dst := p.one.of(p.path), p.two.of(p.path)
	write(t, src+"/a", "new")
	write(t, dst+"/a", "theirs")
	// The new one has the name for the old one, and was not exchanged.
	write(t, dst+mirror.OldSuffix+"/a", "new")
	p.bad(t, "killed before the exchange", mirror.OldSuffix+`": file exists`)
	must(t, os.RemoveAll(dst+mirror.OldSuffix))
	p.good(t, "removed")
	// It was exchanged, and the manifest was not written.
	manifest := p.two.Dir + "/" + UUID(p.path) + ".json"
	must(t, os.Remove(manifest))
	p.bad(t, "killed after the exchange", mirror.OldSuffix+`": file exists`)
	if text := tree(t, dst+mirror.OldSuffix); !strings.Contains(text, `"theirs"`) {
		t.Errorf("what no round has made is lost: %q", text)
	}
	must(t, os.RemoveAll(dst+mirror.OldSuffix))
	p.good(t, "removed")
	// Of a copy.
	old, err := os.ReadFile(manifest)
	must(t, err)
	write(t, src+"/a", "newer")
	p.good(t, "once")
	must(t, os.WriteFile(manifest, old, 0o600))
	write(t, src+"/a", "newest")
	p.good(t, "twice")
}

// A source that was taken over writes into its directory, and nothing else.
func TestHostileSource(t *testing.T) {
	p := newPair(t)
	src := p.one.of(p.path)
	write(t, src+"/a", "1")
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "secret")
	for what, change := range map[string]func(args []string) []string{
		"reads": func(args []string) []string {
			return append(args[:len(args)-2:len(args)-2], "vmferry-mirror::files/", filepath.Dir(secret)+"/got/")
		},
		"writes in place": func(args []string) []string { return append([]string{"--inplace"}, args...) },
		"has a file elsewhere": func(args []string) []string {
			return append([]string{"--temp-dir=" + filepath.Dir(secret)}, args...)
		},
		"links": func(args []string) []string {
			return append([]string{"--link-dest=" + filepath.Dir(secret)}, args...)
		},
		"names another module": func(args []string) []string { return append(args[:len(args)-1:len(args)-1], "vmferry-mirror::root/") },
	} {
		p.wrap = func(run command.Runner) command.Runner {
			return func(ctx context.Context, name string, args ...string) (string, error) {
				return run(ctx, name, change(args)...)
			}
		}
		p.bad(t, what, "exit status")
	}
	// What it writes outside is inside.
	p.wrap = func(run command.Runner) command.Runner {
		return func(ctx context.Context, name string, args ...string) (string, error) {
			if name == "rsync" {
				args = append(args[:len(args)-2:len(args)-2], secret, "vmferry-mirror::files/../../../../escaped")
			}
			return run(ctx, name, args...)
		}
	}
	p.bad(t, "writes above", "does not exist")
	for _, at := range []string{p.two.Root, filepath.Dir(p.two.Root), "/"} {
		if _, err := os.Lstat(filepath.Join(at, "escaped")); err == nil {
			t.Errorf("it has written to %s", at)
		}
	}
	// A link in place of all.
	link := filepath.Join(t.TempDir(), "tree")
	must(t, os.Symlink("/etc", link))
	p.wrap = func(run command.Runner) command.Runner {
		return func(ctx context.Context, name string, args ...string) (string, error) {
			if name == "rsync" {
				args = append(args[:len(args)-2:len(args)-2], link, "vmferry-mirror::files/")
			}
			return run(ctx, name, args...)
		}
	}
	p.bad(t, "sends a link", "it is a link")
	// And words that are none.
	for _, words := range [][]string{{Receive, UUID("/etc"), "vmferry-9-9"}, {Switch, UUID(p.path), "vmferry-9-9"}, {Receive, "../../x", "vmferry-9-9"},
		{Receive, UUID(p.path), "../x"}, {Receive, UUID(p.path), "vmferry-18446744073709551615-1"}, {Switch, "", ""}} {
		e := Engine{Store: mirror.Store{Dir: p.two.Dir}}
		if err := e.Answer(t.Context(), words[0], words[1], words[2], "n2", p.two.All); err == nil {
			t.Errorf("%q is taken", words)
		}
	}
}
