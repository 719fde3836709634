package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       func(*Config)
	}{
		{"empty", "", func(*Config) {}},
		{"window", `window = "10m"`, func(c *Config) { c.Window = 10 * time.Minute }},
		{"stop_window", `stop_window = "90s"`, func(c *Config) { c.StopWindow = 90 * time.Second }},
		{"poll", `poll = "250ms"`, func(c *Config) { c.Poll = 250 * time.Millisecond }},
		{"forecast_interval", `forecast_interval = "15m"`, func(c *Config) { c.Forecast = 15 * time.Minute }},
		{"no forecast", `forecast_interval = "0"`, func(c *Config) { c.Forecast = 0 }},
		{"manager", `manager = "heartbeat"`, func(c *Config) { c.Manager = "heartbeat" }},
		{"node", `node = "n1"`, func(c *Config) { c.Node = "n1" }},
		{"empty node", `node = ""`, func(*Config) {}},
		{"agents", `agents = ["ocf:x:Y"]`, func(c *Config) { c.Agents = []string{"ocf:x:Y"} }},
		{"guests_dir", `guests_dir = "/g"`, func(c *Config) { c.GuestsDir = "/g" }},
		{"state_dir", `state_dir = "/s"`, func(c *Config) { c.StateDir = "/s" }},
		{"mirror", "[[mirror]]\npath = \"/etc/a b\"\nfrom = \"n1\"\n[[mirror]]\npath=\"/etc/a\"\nfrom=\"n2\"\npeer=\"n3\"\ninterval=\"10s\"",
			func(c *Config) {
				c.Mirrors = []Mirror{{Path: "/etc/a b", From: "n1", Interval: time.Minute},
					{Path: "/etc/a", From: "n2", Peer: "n3", Interval: 10 * time.Second}}
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := Default()
			tt.want(&want)
			got, err := Parse("f", tt.text)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "# first\nwindo = \"1m\"", `f:2: "windo": there is no such setting`},
		{"unknown quoted key", "\n \"the window\" = 1", `f:2: "\"the window\"": there is no such setting`},
		{"unknown table", "node = \"a\"\n\n[guests]\ndir = \"/\"", `f:3: "guests": there is no such setting`},
		{"prefix of a known key", "window_x = 1\n", `f:1: "window_x": there is no such setting`},
		{"number for a duration", "poll = \"1s\"\nwindow = 10",
			`f:2: "window": 10 is not a string: put it in double quotes`},
		{"string for a list", `agents = "ocf:a:B"`, `f:1: "agents": ocf:a:B is not a list: put it in square brackets`},
		{"number in a list", `agents = [1]`, `f:1: "agents": 1 is not a string: put it in double quotes`},
		{"syntax", "poll = \"1s\"\nwindow", `f:2: `},
		{"twice", "poll = \"1s\"\npoll = \"2s\"", `f:2: "poll": `},
		{"no duration", `window = "soon"`, `f:1: "window": "soon" is not a duration; write it as "90s" or "10m"`},
		{"no unit", `window = "600"`, `f:1: "window": "600" is not a duration; write it as "90s" or "10m"`},
		{"negative", `stop_window = "-1m"`, `f:1: "stop_window": -1m0s is too short; the least is 1s`},
		{"busy", `poll = "1ms"`, `f:1: "poll": 1ms is too short; the least is 100ms`},
		{"a forecast without end", `forecast_interval = "1s"`,
			`f:1: "forecast_interval": 1s is too short; the least is 10s`},
		{"a bare number of a forecast", `forecast_interval = 0`,
			`f:1: "forecast_interval": 0 is not a string: put it in double quotes`},
		{"relative", `guests_dir = "g"`, `f:1: "guests_dir": "g" is not an absolute path`},
		{"no agents", `agents = []`, `f:1: "agents": an empty list would wait for no guest`},
		{"half an agent", `agents = ["Domain"]`,
			`f:1: "agents": "Domain" is not an agent; write it as "ocf:vmferry:Domain"`},
		{"another manager", `manager = "corosync"`,
			`f:1: "manager": "corosync" is not a cluster manager: use one of auto, pacemaker, heartbeat`},
		{"no manager", `manager = ""`, `f:1: "manager": "" is not a cluster manager`},
		{"mirror of nothing", "\n[[mirror]]\nfrom = \"n1\"", `f:2: "mirror": number 1: it needs path and from`},
		{"mirror from nowhere", "[[mirror]]\npath = \"/a\"", `f:1: "mirror": number 1: it needs path and from`},
		{"mirror of a setting", "[[mirror]]\npath = \"/a\"\nto = \"n1\"", `f:1: "mirror.to": there is no such setting`},
		{"mirror that is no table", `mirror = "/a"`, `f: toml: line 1 (last key "mirror")`},
		{"mirror too often", "[[mirror]]\npath = \"/a\"\nfrom = \"n1\"\ninterval = \"1s\"",
			`f:1: "mirror": number 1: 1s is too short; the least is 10s`},
		{"mirror with two faults", "[[mirror]]\npath = \"a\"\nfrom = \"-x\"",
			`f:1: "mirror": number 1: "a" cannot be mirrored: write an absolute path without a slash at its end; "-x" is not a node name`},
		{"mirror to itself", "[[mirror]]\npath = \"/a\"\nfrom = \"n1\"\npeer = \"N1\"", `f:1: "mirror": number 1: from and peer are both "N1"`},
		{"mirror within another", "[[mirror]]\npath = \"/a/b\"\nfrom = \"n1\"\n[[mirror]]\npath = \"/a\"\nfrom = \"n2\"",
			`f:1: "mirror": number 2: "/a" lies within another`},
		{"mirror of the mirror", "[[mirror]]\npath = \"/var\"\nfrom = \"n1\"", `f:1: "mirror": number 1: "/var" lies within another`},
		{"option for a node", `node = "--all"`, `f:1: "node": "--all" is not a node name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", tt.text)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than a line", err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	got, err := Load(filepath.Join(dir, "none.toml"))
	if err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("a missing file: %+v, %v", got, err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory was read")
	}
}

// daemon is where the shipped file and the manual are.
const daemon = "../../cmd/vmferryd/"

// TestReferenceConfig keeps the shipped file in step: as it is it says the
// defaults, and with its examples switched on it is still understood. Every
// setting stands in it.
func TestReferenceConfig(t *testing.T) {
	text, err := os.ReadFile(daemon + "vmferryd.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("vmferryd.toml", string(text))
	if err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("as shipped: %+v, %v; want %+v", got, err, Default())
	}
	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			line = line[1:]
		}
		all.WriteString(line)
	}
	got, err = Parse("vmferryd.toml", all.String())
	if err != nil || got.Window != 118*time.Second || got.StopWindow != 9*time.Minute || got.Node != "node1" {
		t.Errorf("with the examples on: %+v, %v", got, err)
	}
	fields := reflect.TypeFor[rawConfig]()
	manual := read(t, daemon+"vmferryd.toml.5")
	for f := range fields.NumField() {
		key := fields.Field(f).Tag.Get("toml")
		if lineOf(all.String(), key) == 1 {
			t.Errorf("%q is not in the reference file", key)
		}
		if !strings.Contains(manual, ".It Ic "+key+"\n") {
			t.Errorf("%q is not in the manual", key)
		}
	}
}

func TestMirrorPath(t *testing.T) {
	for path, want := range map[string]bool{"/a": true, "/etc/a b": true, "/": false, "": false, "a": false, "/a/": false,
		"/a/../b": false, "/a//b": false, "/a\n": false, "/a\x00": false, "/a\xff": false, "/a.vmferry-old": false,
		"/a/b.vmferry-staging/c": false} {
		if got, err := mirrorPath(Text(path)); (err == nil) != want || want && got != path {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "[[mirror]]\npath = \"/a\"\nfrom = \"b\"", `window = "10m"`, "x = 1", "[a]\nb = 2", `agents = ["ocf:a:b"]`, "window = 10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", text)
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("%q names no place", err)
		}
		if err == nil && (c.Poll <= 0 || len(c.Agents) == 0) {
			t.Errorf("%q was taken for %+v", text, c)
		}
	})
}
