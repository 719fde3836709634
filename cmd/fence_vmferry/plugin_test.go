package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
)

const pluginPath = "/usr/lib/stonith/plugins/external/vmferry"

func TestPlugin(t *testing.T) {
	status, err := json.Marshal(control.StatusReport{Nodes: []control.NodeReport{{Name: "alpha"}, {Name: "beta"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("socket", guard(t, func(_ context.Context, r control.Request) control.Reply {
		switch r.Verb {
		case control.Status: // a node has no lease while Heartbeat starts: that is no failure of the device
			return control.Reply{Why: "this node does not hold its lease", Status: status}
		case control.Fence, control.Open:
			return control.Reply{OK: r.Node == "beta", Why: "evidence"}
		}
		return control.Reply{Why: "no"}
	}))
	for args, want := range map[string]struct {
		code int
		out  string
	}{
		"gethosts":         {exitOK, "alpha\nbeta\n"},
		"status":           {exitOK, ""},
		"reset beta":       {exitOK, "node beta is fenced: evidence"},
		"off beta":         {exitOK, "node beta is fenced: evidence"},
		"on beta":          {exitOK, ""},
		"on alpha":         {exitFail, "external/vmferry: evidence"},
		"getconfignames":   {exitOK, "\n"},
		"getinfo-devid":    {exitOK, "vmferry guard\n"},
		"getinfo-devname":  {exitOK, "vmferry guard of this node\n"},
		"getinfo-devdescr": {exitOK, "Proves that a node runs no guest"},
		"getinfo-devurl":   {exitOK, "https://"},
		"getinfo-xml":      {exitOK, "<parameters>"},
		"reset":            {exitFail, "usage: vmferry"},
		"reset beta alpha": {exitFail, "usage: vmferry"},
		"explode":          {exitFail, "usage: vmferry"},
		"":                 {exitFail, "stonith_host * external/vmferry"},
	} {
		var out bytes.Buffer
		code := byName(t.Context(), append([]string{pluginPath}, strings.Fields(args)...), nil, &out, &out)
		if code != want.code || !strings.Contains(out.String(), want.out) || want.out == "" && out.Len() > 0 {
			t.Errorf("%s: exit %d, %q, want %d, %q", args, code, &out, want.code, want.out)
		}
	}
}

func TestPluginXML(t *testing.T) {
	if err := xml.Unmarshal([]byte(facts["getinfo-xml"]), new(struct{})); err != nil {
		t.Error(err)
	}
}

// Under every other name the program is the fence agent.
func TestByName(t *testing.T) {
	for name, want := range map[string]string{pluginPath: "usage: vmferry off", "vmferry": "usage: vmferry off",
		"/usr/sbin/fence_vmferry": "usage: fence_vmferry"} {
		var out bytes.Buffer
		byName(t.Context(), []string{name, "--help"}, nil, &out, &out)
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %q", name, &out)
		}
	}
}

// Without a guard every action that needs one fails, and a reset slowly.
func TestPluginWithoutGuard(t *testing.T) {
	t.Setenv("socket", "/nonexistent/guard.sock")
	for _, args := range []string{"reset beta", "off beta", "on beta", "status", "gethosts"} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			var out bytes.Buffer
			code := byName(t.Context(), append([]string{pluginPath}, strings.Fields(args)...), nil, &out, &out)
			if code != exitFail || !strings.Contains(out.String(), "no guard runs on this node") {
				t.Errorf("%s: exit %d: %s", args, code, &out)
			}
			slow := strings.HasPrefix(args, "reset") || strings.HasPrefix(args, "off")
			if slow != (time.Since(begun) >= pause) {
				t.Errorf("%s: it took %s", args, time.Since(begun))
			}
		})
	}
}
