package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/migrate/safefile"
)

const whole = `
device = "/dev/disk/by-id/lease"
node = "alpha"
ping = ["192.0.2.1", "2001:db8::1"]
revoke = ["/usr/local/sbin/revoke", "{node}"]
admit = ["/usr/local/sbin/admit"]
watchdog = "/dev/watchdog"
trust_expiry = "a hung node may wake up and write: I accept that"
[link]
alpha = "192.0.2.7"
beta = "[2001:db8::8]:9000"
`

func TestParse(t *testing.T) {
	s, err := Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	if s.Device != "/dev/disk/by-id/lease" || s.Node != "alpha" || len(s.Ping) != 2 || !s.TrustExpiry ||
		s.Watchdog != "/dev/watchdog" || len(s.Revoke) != 2 || len(s.Admit) != 1 {
		t.Errorf("%+v", s)
	}
	if a, b := s.Link["alpha"].String(), s.Link["beta"].String(); a != "192.0.2.7:5411" || b != "[2001:db8::8]:9000" {
		t.Errorf("links %s and %s", a, b)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                                           `device: "" is not an absolute path`,
		`device = "lease"`:                           `device: "lease" is not an absolute path`,
		"device = 7":                                 `"device"): 7 is not a string: put it in double quotes`,
		"device = \"/a\"\nrevoke = \"/b\"":           `"revoke"): /b is not a list: put it in square brackets`,
		"device = \"/a\"\n[link]\nb = 7":             `7 is not a string: put it in double quotes`,
		`device = 8`:                                 `device`,
		`devices = "/a"`:                             `"devices": there is no such setting`,
		"device = \"/a\"\nping = [\"gateway\"]":      `ping: "gateway" is not an IP address`,
		"device = \"/a\"\nrevoke = [\"sh\"]":         `revoke: "sh" is not an absolute path of a program`,
		"device = \"/a\"\nadmit = [\"/b\"]":          `admit: access that is never revoked`,
		"device = \"/a\"\ntrust_expiry = \"yes\"":    `trust_expiry: write "a hung node may wake up and write: I accept that"`,
		"device = \"/a\"\ntrust_expiry = true":       `trust_expiry`,
		"device = \"/a\"\n[link]\nb = \"beta\"":      `link: b: "beta" is not an IP address`,
		"device = \"/a\"\nping = [\"127.0.0.1\"]":    `ping: "127.0.0.1" is no address of another host`,
		"device = \"/a\"\nping = [\"0.0.0.0\"]":      `ping: "0.0.0.0" is no address of another host`,
		"device = \"/a\"\n[link]\nb = \"[::]:9\"":    `link: b: "[::]:9" is not the address and port of one node`,
		"device = \"/a\"\n[link]\nb = \"1.2.3.4:0\"": `link: b: "1.2.3.4:0" is not the address and port of one node`,
		"device = \"/a\"\n[link]\nb = \"224.0.0.1\"": `link: b: "224.0.0.1" is not the address and port of one node`,
		"device = \"/a\"\nwatchdog = \"yes\"":        `watchdog: "yes" is not an absolute path`,
	} {
		if s, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q", text, s, err, want)
		}
	}
}

func TestLoadMissing(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "guard.toml"))
	if err == nil || !strings.Contains(err.Error(), "no guard is set up on this node") {
		t.Errorf("%v", err)
	}
}

// Who may write the file decides which programs run as root.
func TestLoadExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guard.toml")
	if err := os.WriteFile(path, []byte(`device = "/dev/x"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o644: false, 0o646: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if refused != errors.Is(err, safefile.ErrExposed) || refused != (err != nil) {
			t.Errorf("mode %o: %v", mode, err)
		}
		if refused && !strings.Contains(err.Error(), "type chmod go-w "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestCheck(t *testing.T) {
	h := lease.Header{Cluster: "plant", Nodes: []string{"alpha", "beta"}}
	for name, test := range map[string]struct {
		change func(*Settings)
		node   string
		want   string
	}{
		"it fits":            {func(*Settings) {}, "alpha", ""},
		"no link":            {func(s *Settings) { s.Link = nil }, "beta", ""},
		"another node":       {func(*Settings) {}, "gamma", `this node is "gamma", and the lease device of cluster "plant" has`},
		"a link of nobody's": {func(s *Settings) { s.Link["gamma"] = s.Link["beta"] }, "alpha", `knows no node "gamma"`},
		"a link that two have": {func(s *Settings) { s.Link["beta"] = s.Link["alpha"] }, "alpha",
			"link: nodes alpha and beta have the same address 192.0.2.7:5411"},
		"a ping of a node": {func(s *Settings) { s.Ping = append(s.Ping, s.Link["beta"].Addr()) }, "alpha",
			"ping: 2001:db8::8 is node beta"},
		"a link that is lost": {func(s *Settings) { delete(s.Link, "beta") }, "alpha", "node beta is missing"},
	} {
		s, err := Parse(whole)
		if err != nil {
			t.Fatal(err)
		}
		test.change(&s)
		err = s.Check(h, test.node)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := Parse(text); err == nil && !filepath.IsAbs(s.Device) {
			t.Errorf("%+v", s)
		}
	})
}
