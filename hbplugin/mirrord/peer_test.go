package mirrord

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/mirrorfiles"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
	"github.com/vmferry/vmferry/resource/agentd/socket"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

func TestGuests(t *testing.T) {
	run := func(context.Context, string, ...string) (string, error) { return "", errors.New("no Pacemaker here") }
	note := func(name string, params ...string) notes.Guest {
		n := notes.Guest{Guest: name, Resource: "r-" + name, URI: "qemu:///system",
			Params: map[string]string{"config": "/etc/" + name + ".xml"}}
		for i := 0; i+1 < len(params); i += 2 {
			n.Params[params[i]] = params[i+1]
		}
		return n
	}
	all, err := Guests(t.Context(), []notes.Guest{
		note("plain"),
		note("ssh", "mirror", "n1,n2", "migration_transport", "ssh", "mirror_interval", "5s,vdb=1h"),
		note("far", "mirror", "n2,n1", "migration_network_suffix", "-mig", "migration_user", "ferry"),
		note("six", "mirror", "n1,fd00::7", "migration_transport", "ssh"),
		note("other", "mirror", "n3,n4"),
		note("unix", "mirror", "n1,n2", "remoteuri", "qemu+unix:///system"),
	}, "n1", run)
	var got []string
	for _, g := range all {
		got = append(got, g.Name+" "+g.Interval+" "+g.Peer+" "+g.SSH[len(g.SSH)-1])
	}
	if want := []string{"ssh 5s,vdb=1h n2 n2", "far 1m0s n2 ferry@n2-mig", "six 1m0s fd00::7 fd00::7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), `guest "other": mirror=n3,n4 does not name this node, which is "n1"`) ||
		!strings.Contains(err.Error(), `guest "unix": the URI of libvirt on node n2`) {
		t.Errorf("error %v", err)
	}
	if a := all[0]; a.Mirror.Every("vdb") != time.Hour || a.Mirror.Every("vda") != 5*time.Second || a.SSH[0] != "ssh" ||
		!slices.Contains(a.SSH, "-oBatchMode=yes") || a.SSH[len(a.SSH)-2] != "--" {
		t.Errorf("%+v", a)
	}
}

// ssh is the stream's alone: it has the mirror's key where there is one, and nothing that root's configuration adds.
func TestSSH(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if got := sshTo(key, "n2"); slices.Contains(got, "-i") {
		t.Errorf("without a key: %q", got)
	}
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := sshTo(key, "n2")
	text := strings.Join(got, " ")
	for _, want := range []string{" -T ", " -a ", " -x ", " -S none ", " -oClearAllForwardings=yes ", " -i " + key + " -- n2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q has no %q", text, want)
		}
	}
}

func TestPaths(t *testing.T) {
	entry := func(path, from, peer string) config.Mirror {
		return config.Mirror{Path: path, From: from, Peer: peer, Interval: time.Minute}
	}
	far := []Guest{{Peer: "n2", SSH: []string{"ssh", "ferry@n2-mig"}}, {Peer: "n2", SSH: []string{"ssh", "ferry@n2-mig"}}}
	for name, tt := range map[string]struct {
		entry  config.Mirror
		guests []Guest
		others string
		want   string // the peer, and its host
	}{
		"to this node":          {entry("/a", "n2", "n1"), far, "n2", ""},
		"named":                 {entry("/a", "N1", "n9"), far, "n2", "n9 n9"},
		"named, as the guests'": {entry("/a", "n1", "n2"), far, "n2", "n2 ferry@n2-mig"},
		"as the guests'":        {entry("/a", "n1", ""), far, "n2 n3", "n2 ferry@n2-mig"},
		"of the cluster":        {entry("/a", "n1", ""), nil, "n2", "n2 n2"},
		"one of two":            {entry("/a", "n1", ""), nil, "n2 n3", `mirror "/a": there are 2 other nodes: set peer`},
		"guests' differ":        {entry("/a", "n1", ""), append(far, Guest{Peer: "n3"}), "", `there are 2 other nodes`},
		"no cluster":            {entry("/a", "n1", ""), nil, "", `mirror "/a": there are 0 other nodes: set peer`},
	} {
		all, err := Paths(t.Context(), []config.Mirror{tt.entry}, tt.guests, "n1",
			func(context.Context) []string { return strings.Fields(tt.others) })
		var got string
		for _, g := range all {
			got = g.Peer + " " + g.SSH[len(g.SSH)-1]
			if !g.Path || g.Name != "/a" || g.Resource != "/a" || g.UUID != mirrorfiles.UUID("/a") || g.Interval != "1m0s" ||
				g.Mirror.Every("files") != time.Minute {
				t.Errorf("%s: %+v", name, g)
			}
		}
		if err != nil {
			got = err.Error()
		}
		if len(all) > 1 || (len(all) == 0) != (tt.want == "" || err != nil) || !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// program writes a program that stands for ssh.
func program(t *testing.T, text string) []string {
	path := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{path, "--", "n2"}
}

func TestStream(t *testing.T) {
	s, err := dial(program(t, "[ \"$*\" = '-- n2 vmferry-mirror receive' ] && exec cat\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(wire.Ready{}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Receive(); err != nil || got != (wire.Ready{}) {
		t.Errorf("%v, %v", got, err)
	}
	_, _ = s.Close(), s.Close()
	if _, err := s.Receive(); err == nil {
		t.Error("the stream does not end")
	}
}

func TestStreamRefused(t *testing.T) {
	s, err := dial(program(t, "echo 'root@n2: Permission denied.' >&2; exit 255\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(); err == nil {
		t.Error("something was received")
	}
	_ = s.Close()
	if words := s.Words(); words != "root@n2: Permission denied." {
		t.Errorf("%q", words)
	}
	var w words
	for _, line := range []string{strings.Repeat("banner\n", 1000), "Permission ", "denied."} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil || len(w) > 4096 {
			t.Errorf("%d of %d bytes, %v, %d are kept", n, len(line), err, len(w))
		}
	}
	if words := (&process{stderr: w}).Words(); words != "Permission denied." {
		t.Errorf("after a banner: %q", words)
	}
	if _, err := dial([]string{"/no/such/ssh", "n2"}); err == nil {
		t.Error("no program, no error")
	}
}

func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mirror.sock")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := Ask(ctx, path, Request{Verb: List}); err == nil || !strings.Contains(err.Error(), "type systemctl start vmferry-mirror") {
		t.Errorf("no daemon: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	served, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		socket.Serve(served, l, func(_ context.Context, _ uint32, r Request) Reply {
			if r.Verb == Hold {
				return Reply{Error: "no"}
			}
			return Reply{Guests: []Status{{Guest: r.Guest}}}
		})
		close(done)
	}()
	if r, err := Ask(ctx, path, Request{Verb: List, Guest: "a b"}); err != nil || r.Guests[0].Guest != "a b" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Ask(ctx, path, Request{Verb: Hold}); err == nil || err.Error() != "no" {
		t.Errorf("%v", err)
	}
	end()
	<-done
}

// A node says which copy it has; what it says is checked, and waited for within the context.
func TestManifest(t *testing.T) {
	const uuid = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"
	whole := mirror.Manifest{Schema: mirror.Schema, Guest: "vm1", UUID: uuid, Role: mirror.Truth, Point: mirror.Point{Epoch: 7}}
	other, broken := whole, whole
	other.UUID, broken.Role = "99999999-2222-4333-8444-555555555555", "king"
	p := param.ParseEnviron([]string{"OCF_RESKEY_config=/x.xml", "OCF_RESKEY_hypervisor=qemu:///system"}).Params
	for name, c := range map[string]struct {
		answer any
		script string
		epoch  uint64
		fails  string
	}{
		"truth":       {wire.State{Manifest: &whole}, "", 7, ""},
		"none":        {wire.State{}, "", 0, ""},
		"another":     {wire.State{Manifest: &other}, "", 0, "of guest 99999999"},
		"no manifest": {wire.State{Manifest: &broken}, "", 0, "no role"},
		"refused":     {wire.Refused{Why: "it rains"}, "", 0, "it rains"},
		"unexpected":  {wire.Ready{}, "", 0, "refuses"},
		"no way":      {nil, "echo 'no route to host' >&2; exit 255", 0, "no route to host"},
		"silence":     {nil, "exec sleep 60", 0, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			var raw bytes.Buffer
			if c.answer != nil {
				if err := wire.New(nil, &raw).Send(c.answer); err != nil {
					t.Fatal(err)
				}
				answer := filepath.Join(t.TempDir(), "answer")
				if err := os.WriteFile(answer, raw.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				c.script = "cat " + answer + "; exec cat >/dev/null"
			}
			t.Setenv("PATH", filepath.Dir(program(t, c.script)[0])+":"+os.Getenv("PATH"))
			limit := time.Minute
			if name == "silence" {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			m, err := Manifest(ctx, p, "n1", "n2", "vm1", uuid, nil)
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Fatalf("%+v, %v, want %q", m, err, c.fails)
			}
			if err == nil && (m != nil) != (c.epoch > 0) || m != nil && err == nil && m.Epoch != c.epoch {
				t.Errorf("%+v", m)
			}
		})
	}
}
