package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
)

func TestReadOptions(t *testing.T) {
	for text, want := range map[string]options{
		"": {},
		"action=off\nport=beta\nnodename=other\n":            {action: "off", node: "beta"},
		"action=off\r\nnodename=beta\r\nport=\r\n":           {action: "off", node: "beta"},
		"nodename=beta\naction=reboot\n":                     {action: "reboot", node: "beta"},
		"# a comment\n\noption=status\nplug=beta\nfoo=bar\n": {action: "status", node: "beta"},
		"power_timeout=20\nverbose=1\nsocket=/a":             {timeout: 20 * time.Second, verbose: true, socket: "/a"},
		"power_timeout=20s\nverbose=0":                       {timeout: 20 * time.Second},
	} {
		if got, err := readOptions(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if _, err := readOptions(strings.NewReader("power_timeout=soon")); err == nil {
		t.Error("a time that is none")
	}
}

func TestArgumentOptions(t *testing.T) {
	for text, want := range map[string]options{
		"-o off -n beta":                     {action: "off", node: "beta"},
		"--action=off --plug=beta -v":        {action: "off", node: "beta", verbose: true},
		"--action off --plug beta --verbose": {action: "off", node: "beta", verbose: true},
		"--power-timeout 20 --socket /a":     {timeout: 20 * time.Second, socket: "/a"},
	} {
		if got, err := argumentOptions(strings.Fields(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"--colour":           `unknown argument "--colour"`,
		"off":                `unknown argument "off"`,
		"-n":                 "-n needs a value",
		"--plug":             "--plug needs a value",
		"-x beta":            `unknown argument "-x"`,
		"--power-timeout -1": "give a number of seconds",
	} {
		if _, err := argumentOptions(strings.Fields(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), nil, strings.NewReader("action=metadata\n"), &out, &out); code != exitOK {
		t.Fatalf("exit %d: %s", code, &out)
	}
	var agent struct {
		Parameters []struct {
			Name string `xml:"name,attr"`
		} `xml:"parameters>parameter"`
		Actions []struct {
			Name      string `xml:"name,attr"`
			OnTarget  string `xml:"on_target,attr"`
			Automatic string `xml:"automatic,attr"`
		} `xml:"actions>action"`
	}
	if err := xml.Unmarshal(out.Bytes(), &agent); err != nil {
		t.Fatal(err)
	}
	if a := agent.Actions[0]; a.Name != "on" || a.OnTarget != "1" || a.Automatic != "1" {
		t.Errorf("unfencing: %+v", a)
	}
	for _, p := range agent.Parameters {
		if _, err := readOptions(strings.NewReader(p.Name + "=1")); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	for _, p := range parameters {
		if !strings.Contains(out.String(), `<parameter name="`+p.names[0]+`"`) {
			t.Errorf("%s is not in the meta-data", p.names[0])
		}
	}
}

// The manual, the usage and the completion name every parameter.
func TestParametersAreDescribed(t *testing.T) {
	manual, err := os.ReadFile("fence_vmferry.8")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"fence_vmferry.8": strings.ReplaceAll(string(manual), `\-`, "-"), "usage": usage,
		"the completion": bashCompletion()}
	for _, p := range parameters {
		for what, text := range texts {
			if name := strings.ReplaceAll(p.names[0], "_", "-"); !strings.Contains(text, "-"+name) {
				t.Errorf("%s does not mention --%s", what, name)
			}
		}
	}
	for action := range strings.FieldsSeq(actions) {
		if !strings.Contains(metadata, `<action name="`+action+`"`) ||
			!strings.Contains(texts["fence_vmferry.8"], action) {
			t.Errorf("the meta-data or the manual lacks the action %s", action)
		}
	}
}

// guard answers at a socket of its own.
func guard(t *testing.T, answer func(context.Context, control.Request) control.Reply) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "guard.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	go control.Serve(t.Context(), l, answer)
	return socket
}

func TestActions(t *testing.T) {
	status, err := json.Marshal(control.StatusReport{Nodes: []control.NodeReport{
		{Name: "alpha", State: "held"}, {Name: "beta", State: "surrendered", Gone: true},
		{Name: "gamma", State: "held", Expired: true}, {Name: "delta", State: "surrendered"}}}) // no guard ever ran there
	if err != nil {
		t.Fatal(err)
	}
	well := true
	socket := guard(t, func(_ context.Context, r control.Request) control.Reply {
		switch r.Verb {
		case control.Status:
			return control.Reply{OK: well, Why: "the lease is not held", Status: status}
		case control.Fence:
			return control.Reply{OK: r.Node == "beta", Why: "evidence"}
		}
		return control.Reply{OK: r.Verb == control.Open, Why: "no"}
	})
	for args, want := range map[string]struct {
		code int
		out  string
	}{
		"-o monitor":         {exitOK, ""},
		"-o list":            {exitOK, "alpha,\nbeta,\ngamma,\ndelta,\n"},
		"-o list-status":     {exitOK, "alpha,,ON\nbeta,,OFF\ngamma,,ON\ndelta,,ON\n"},
		"-o status -n alpha": {exitOK, ""},
		"-o status -n beta":  {exitOff, ""},
		"-o status -n gamma": {exitOK, ""},
		"-o status -n delta": {exitOK, ""},
		"-o status -n other": {exitFail, `knows no node "other"`},
		"-o off -n beta -v":  {exitOK, "node beta is fenced: evidence"},
		"-n beta":            {exitOK, ""},
		"-o on -n alpha":     {exitOK, ""},
		"-o off":             {exitFail, "no node is named: add --plug NODE"},
		"-o explode":         {exitFail, `unknown action "explode"`},
		"-o validate-all":    {exitOK, ""},
	} {
		var out bytes.Buffer
		code := run(t.Context(), append(strings.Fields(args), "--socket", socket), nil, &out, &out)
		if code != want.code || !strings.Contains(out.String(), want.out) || want.out == "" && out.Len() > 0 {
			t.Errorf("%s: exit %d, %q, want %d, %q", args, code, &out, want.code, want.out)
		}
	}
	well = false
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-o", "monitor", "--socket", socket}, nil, &out, &out); code != exitFail {
		t.Errorf("the monitor of a guard that is not well: exit %d", code)
	}
}

// A call that fails at once takes its time, so that Pacemaker's attempts are not used up.
func TestFailsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var out bytes.Buffer
		code := run(t.Context(), []string{"-o", "off", "-n", "beta", "--socket", "/nonexistent/guard.sock"}, nil, &out, &out)
		if took := time.Since(begun); code != exitFail || took < pause || !strings.Contains(out.String(), "no guard runs on this node") {
			t.Errorf("exit %d after %s: %s", code, took, &out)
		}
	})
}
