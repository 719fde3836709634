package export

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const whole = `
[nodes]
alpha = "192.0.2.7:10809"
beta = "[2001:db8::8]:10809"
[disks]
web = "/dev/vg0/web"
mail-1 = "/srv/mail, old.raw"
`

func TestParse(t *testing.T) {
	c, err := Parse(whole)
	if err != nil || len(c.Nodes) != 2 || c.Nodes["beta"].String() != "[2001:db8::8]:10809" ||
		c.Disks["web"] != "/dev/vg0/web" {
		t.Errorf("%+v, %v", c, err)
	}
	nodes, disks := "[nodes]\na = \"192.0.2.7:1\"\n", "[disks]\nd = \"/d\"\n"
	for text, want := range map[string]string{
		"":                                      "must name one node and one disk",
		nodes:                                   "must name one node and one disk",
		disks:                                   "must name one node and one disk",
		"x = 1":                                 `"x": there is no such setting`,
		"[nodes":                                "expected",
		nodes + "b = \"192.0.2.7:1\"\n" + disks: "a and b have the same address 192.0.2.7:1",
		nodes + "b = \"192.0.2.8\"\n" + disks:   "is not one address and port",
		nodes + "b = \"192.0.2.8:0\"\n" + disks: "is not one address and port",
		nodes + "b = \"0.0.0.0:10809\"\n" + disks:    "is not one address and port",
		nodes + "b = \"[::]:10809\"\n" + disks:       "is not one address and port",
		nodes + "b = \"host:10809\"\n" + disks:       "is not one address and port",
		nodes + "\"../b\" = \"1.1.1.1:1\"\n" + disks: `"../b": use letters`,
		nodes + "\"-b\" = \"1.1.1.1:1\"\n" + disks:   `"-b": use letters`,
		nodes + disks + "\"e/f\" = \"/e\"\n":         `"e/f": use letters`,
		nodes + disks + "e = \"relative\"\n":         `"relative" is not an absolute path`,
		nodes + disks + "e = \"/a\\u0000b\"\n":       "is not an absolute path",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestState(t *testing.T) {
	for _, tt := range []struct {
		state      State
		admit      bool
		generation uint64
		want       State
		open       bool
		err        string
	}{
		{State{}, true, 0, State{}, false, "generation 0 was revoked"},
		{State{}, true, 1, State{1, 0}, true, ""},
		{State{1, 0}, true, 1, State{1, 0}, true, ""},
		{State{1, 0}, true, 2, State{2, 0}, true, ""}, // it surrendered in between
		{State{2, 0}, true, 1, State{2, 0}, true, "the newer generation 2 is"},
		{State{2, 2}, true, 2, State{2, 2}, false, "generation 2 was revoked"},
		{State{2, 2}, true, 1, State{2, 2}, false, "generation 2 was revoked"},
		{State{2, 2}, true, 3, State{3, 2}, true, ""},
		{State{1, 5}, true, 5, State{1, 5}, false, "generation 5 was revoked"}, // it comes after the revocation
		{State{}, false, 0, State{}, false, ""},
		{State{2, 0}, false, 2, State{2, 2}, false, ""},
		{State{2, 0}, false, 3, State{2, 3}, false, ""}, // not admitted yet
		{State{3, 2}, false, 2, State{3, 2}, true, "the newer generation 3 is admitted"},
		{State{2, 2}, false, 2, State{2, 2}, false, ""}, // asked again
		{State{2, 2}, false, 1, State{2, 2}, false, ""},
		{State{2, 4}, false, 3, State{2, 4}, false, ""},
		{State{}, false, 1<<64 - 1, State{0, 1<<64 - 1}, false, ""},
	} {
		change := tt.state.Revoke
		if tt.admit {
			change = tt.state.Admit
		}
		got, err := change(tt.generation)
		if got != tt.want || got.Open() != tt.open || (err != nil) != (tt.err != "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %+v, open %t, %v", tt, got, got.Open(), err)
		}
	}
}

// A state that cannot be read says nothing about what was revoked.
func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alpha.state")
	if s, err := load(path); err != nil || s.Open() {
		t.Errorf("no state: %+v, %v", s, err)
	}
	want := State{Admitted: 1<<64 - 1, Revoked: 1 << 63}
	if err := want.save(path); err != nil {
		t.Fatal(err)
	}
	if s, err := load(path); err != nil || s != want {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"", "{", `{"admitted":-1}`, `{"admitted":1.5}`, `{"admitted":"1"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := load(path); err == nil {
			t.Errorf("%q is read as %+v", text, s)
		}
	}
}

func TestParseRequest(t *testing.T) {
	for text, want := range map[string]Request{
		"status":                           {Verb: Status},
		"revoke beta 7":                    {Revoke, "beta", 7},
		"admit node-1.example 0":           {Admit, "node-1.example", 0},
		"revoke beta 18446744073709551615": {Revoke, "beta", 1<<64 - 1},
	} {
		if got, err := ParseRequest(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", " ", "revoke", "revoke beta", "revoke beta 7 8", "revoke  beta 7", " revoke beta 7", "revoke beta 7 ",
		"revoke beta 7\n", "revoke\tbeta\t7", "revoke beta +7", "revoke beta -1", "revoke beta 07", "revoke beta 0x7",
		"revoke beta 18446744073709551616", "revoke 'beta' 7", "revoke ../beta 7", "revoke -x 7", "Revoke beta 7",
		"reset beta", "reset beta 7", "run beta 7", "status status 1", "revoke be;ta 7", "revoke b\x00 7", "status\n",
		"revoke " + strings.Repeat("b", 65) + " 7",
	} {
		if got, err := ParseRequest(text); err == nil {
			t.Errorf("%q is understood as %+v", text, got)
		}
	}
}

func TestAllowedTo(t *testing.T) {
	for r, want := range map[Request]string{
		{Revoke, "beta", 7}:  "",
		{Revoke, "alpha", 7}: "may not revoke its own access",
		{Admit, "alpha", 7}:  "",
		{Admit, "beta", 7}:   "node alpha may not admit node beta",
		{Verb: Status}:       "",
	} {
		check(t, r.String(), r.AllowedTo("alpha"), want)
	}
}

// What is understood is written the same way again.
func FuzzParseRequest(f *testing.F) {
	f.Add("revoke beta 7")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRequest(text)
		if err != nil {
			return
		}
		if r.String() != text {
			t.Errorf("%q is understood as %q", text, r)
		}
		if strings.ContainsAny(r.Node, "/\x00 ") || strings.HasPrefix(r.Node, ".") || strings.HasPrefix(r.Node, "-") {
			t.Errorf("node %q is no part of a file name", r.Node)
		}
	})
}

// info is what stat says.
type info struct {
	fs.FileInfo
	mode fs.FileMode
}

func (i info) Mode() fs.FileMode { return i.mode }

func TestArguments(t *testing.T) {
	c, err := Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	args, err := c.arguments("beta", "/run/x/pid", func(path string) (fs.FileInfo, error) {
		if strings.HasPrefix(path, "/dev/") {
			return info{mode: fs.ModeDevice}, nil
		}
		return info{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"qemu-storage-daemon",
		"--nbd-server", `{"addr":{"host":"2001:db8::8","port":"10809","type":"inet"},"max-connections":0}`,
		"--blockdev", `{"discard":"unmap","driver":"raw","file":{"aio":"threads",` +
			`"cache":{"direct":true,"no-flush":false},"discard":"unmap",` +
			`"driver":"file","filename":"/srv/mail, old.raw","locking":"off"},"node-name":"disk0"}`,
		"--export", `{"id":"export0","name":"mail-1","node-name":"disk0","type":"nbd","writable":true}`,
		"--blockdev", `{"discard":"unmap","driver":"raw","file":{"aio":"threads",` +
			`"cache":{"direct":true,"no-flush":false},"discard":"unmap",` +
			`"driver":"host_device","filename":"/dev/vg0/web","locking":"off"},"node-name":"disk1"}`,
		"--export", `{"id":"export1","name":"web","node-name":"disk1","type":"nbd","writable":true}`,
		"--pidfile", "/run/x/pid", "--daemonize",
	} {
		if i >= len(args) || args[i] != want {
			t.Fatalf("argument %d of %q, want %s", i, args, want)
		}
	}
	if _, err := c.arguments("beta", "/x", os.Stat); err == nil || !strings.Contains(err.Error(), "disk mail-1: ") {
		t.Errorf("a disk that is not there: %v", err)
	}
}
