package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if Member() {
		return
	}
	os.Exit(m.Run())
}

func TestParseVictim(t *testing.T) {
	for _, c := range []struct {
		text string
		want victim
		ok   bool
	}{
		{"vm1,766d", victim{"vm1", "766d"}, true},
		{"vm1", victim{}, false},
		{",766d", victim{}, false},
		{"vm1,", victim{}, false},
	} {
		if got, err := parseVictim(c.text); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
}

func TestOwnCgroup(t *testing.T) {
	for raw, want := range map[string]string{
		"0::/system.slice/a.service\n":         "/system.slice/a.service",
		"1:cpu:/x\n0::/user.slice/b.service\n": "/user.slice/b.service",
		"1:cpu:/x\n":                           "",
		"":                                     "",
	} {
		if got := ownCgroup(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestIsHeadless(t *testing.T) {
	for stat, want := range map[string]bool{
		"7 (qemu-x) Z 1 2":      true,
		"7 (qemu-x) S 1 2":      false,
		"7 (a) Z 1 (b) R 1 2":   false,
		"7 (a) S 1 (b)) Z 1 22": true,
	} {
		if got := isHeadless(stat); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
}

// A crowd is what it claims to be in /proc, and ends with whoever made it.
func TestCrowd(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		args := []string{"--dir", dir, "--guest", "vm1,766d6665-7272-4000-9000-000000000001"}
		ended <- crowd(ctx, args, nil, func() { close(begun) })
	}()
	select {
	case <-begun:
	case err := <-ended:
		t.Fatal(err)
	}
	lines := map[string][]string{} // of command lines, by name
	for _, pid := range children(t) {
		comm, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		line, err2 := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err == nil && err2 == nil {
			name := strings.TrimSpace(string(comm))
			lines[name] = append(lines[name], string(line))
		}
	}
	for name, want := range map[string][]int{ // lengths of command lines
		"qemu-x": {0}, "pacemaker-x": {len("pacemaker-x") + 1}, "libvirtd": {0},
	} {
		if len(lines[name]) != len(want) || len(lines[name][0]) != want[0] {
			t.Errorf("%s: command lines %q, want lengths %v", name, lines[name], want)
		}
	}
	guests, longest := 0, 0
	for _, line := range lines["qemu-system-x86"] {
		longest = max(longest, len(line))
		if strings.Contains(line, "-name\x00guest=vm1,") {
			guests++
		}
	}
	if guests != 1 || longest < longLine*9/10 {
		t.Errorf("%d processes claim to be vm1, and the longest command line has %d bytes", guests, longest)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// children are the process ids of this process's children.
func children(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			all = append(all, strings.Fields(string(text))...)
		}
	}
	return all
}

func TestLitter(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	args := []string{"fifo=" + at("a"), "endless=" + at("b"), "empty=" + at("c"), "folder=" + at("d"),
		"text=" + at("e")}
	if err := litter(t.Context(), args, nil, func() {}); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{
		"a": os.ModeNamedPipe, "b": os.ModeSymlink, "c": 0, "d": os.ModeDir, "e": os.ModeSymlink,
	} {
		if info, err := os.Lstat(at(name)); err != nil || info.Mode().Type() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for _, bad := range []string{"fifo", "statue=" + at("f"), "empty=" + at("c")} {
		if err := litter(t.Context(), []string{bad}, nil, func() {}); err == nil {
			t.Errorf("%q was made", bad)
		}
	}
}

// Connections that are closed are made again.
func TestSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- silent(ctx, []string{"--connections", "3", l.Addr().String()}, &out, func() {}) }()
	for i := range 5 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			conn.Close()
		} else {
			defer conn.Close()
		}
	}
	cancel()
	if err := <-ended; err != nil || !strings.HasSuffix(out.String(), " connections\n") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// frame is an IPv4 packet with TCP in it.
func frame(from, to uint16, payload string) []byte {
	p := make([]byte, 40, 40+len(payload))
	p[0], p[9] = 0x45, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(p[2:], uint16(40+len(payload)))
	copy(p[12:], []byte{10, 77, 0, 1, 10, 77, 0, 2})
	binary.BigEndian.PutUint16(p[20:], from)
	binary.BigEndian.PutUint16(p[22:], to)
	p[32] = 5 << 4
	return append(p, payload...)
}

func TestCapture(t *testing.T) {
	offloaded := frame(40000, 49152, "MARKED")
	offloaded[2], offloaded[3] = 0, 0
	padded := append(frame(40000, 49152, "x"), "MARKED"...)
	udp := frame(40000, 49152, "MARKED")
	udp[9] = unix.IPPROTO_UDP
	for _, c := range []struct {
		name    string
		packets [][]byte
		want    int64
	}{
		{"one", [][]byte{frame(40000, 49152, "..MARKED..")}, 1},
		{"answers count", [][]byte{frame(49152, 40000, "MARKED")}, 1},
		{"several in one", [][]byte{frame(40000, 49152, "MARKEDMARKED")}, 2},
		{"across two segments", [][]byte{frame(40000, 49152, "..MAR"), frame(40000, 49152, "KED..")}, 1},
		{"across three", [][]byte{frame(40000, 49152, "MA"), frame(40000, 49152, "RK"), frame(40000, 49152, "ED")}, 1},
		{"once, however long the tail", [][]byte{frame(40000, 49152, "MARKED"), frame(40000, 49152, "..")}, 1},
		{"not across two flows", [][]byte{frame(40000, 49152, "..MAR"), frame(40001, 49152, "KED..")}, 0},
		{"another port", [][]byte{frame(40000, 16509, "MARKED")}, 0},
		{"segmentation offload", [][]byte{offloaded}, 1},
		{"padding", [][]byte{padded}, 0},
		{"no TCP", [][]byte{udp, {0x60}, nil, frame(1, 49152, "")[:30]}, 0},
	} {
		seen, err := newCapture("49152-49215", []string{"MARKED"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range c.packets {
			seen.take(p)
		}
		if got := seen.Seen["MARKED"]; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for _, bad := range []string{"", "9-1", "x"} {
		if _, err := newCapture(bad, nil); err == nil {
			t.Errorf("took ports %q", bad)
		}
	}
}

// The tap sees what goes over the loopback link.
func TestTap(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		args := []string{"--link", "lo", "--ports", port + "-" + port, "MARKED", "ABSENT"}
		ended <- tap(ctx, args, &out, func() { close(begun) })
	}()
	select {
	case <-begun:
	case err := <-ended:
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("MARKED")); err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Read(make([]byte, 6)); err != nil { // by then it was on the link
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, `"ABSENT":0`) || strings.Contains(got, `"MARKED":0`) {
		t.Errorf("it saw %s", got)
	}
	conn.Close()
	peer.Close()
}
