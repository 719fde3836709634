package pacemaker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

func TestArrival(t *testing.T) {
	there, here := cib.Place{Nodes: []string{"n2"}}, cib.Place{Nodes: []string{"n1"}}
	moving := cib.Place{Nodes: []string{"n2"}, Pending: "Migrating"}
	both := cib.Place{Nodes: []string{"n1", "n2"}}
	for _, tt := range []struct {
		name  string
		looks []cib.Place
		idle  bool // before the last look
		done  bool
		err   error
	}{
		{"once is the moment between two actions", []cib.Place{here, there}, true, false, nil},
		{"twice", []cib.Place{here, there, there}, false, true, nil},
		{"not in a row", []cib.Place{there, moving, there}, false, false, nil},
		{"there, and Pacemaker is at work on it", []cib.Place{moving, moving}, true, false, nil},
		{"on both", []cib.Place{both, both}, false, false, nil},
		{"nothing more to do", []cib.Place{here, here}, true, true, ErrNotMoved},
		{"nowhere, and nothing more to do", []cib.Place{here, {}}, true, true, ErrNotMoved},
	} {
		a, done, err := Arrival{Node: "n2"}, false, error(nil)
		for i, p := range tt.looks {
			if done {
				t.Errorf("%s: done after %d looks", tt.name, i)
			}
			done, err = a.Look(p, tt.idle && i == len(tt.looks)-1)
		}
		if done != tt.done || !errors.Is(err, tt.err) {
			t.Errorf("%s: %t, %v", tt.name, done, err)
		}
	}
}

func TestCheckMove(t *testing.T) {
	now := time.Now()
	good := func() (cib.Status, cib.Config, hbplugin.Claim) {
		return cib.Status{Online: map[string]bool{"n1": true, "n2": true, "n3": false}, Standby: map[string]bool{},
				Places: map[string]cib.Place{"web": {Managed: true, Nodes: []string{"n1"}}}},
			cib.Config{Resources: []cib.Resource{{ID: "web", Agent: hbplugin.OwnAgent}}},
			hbplugin.Claim{Resource: "web", Meta: map[string]string{"allow-migrate": "true"}}
	}
	for _, tt := range []struct {
		name, node, want string
		change           func(*cib.Status, *cib.Config, *hbplugin.Claim)
	}{
		{"good", "n2", "", nil},
		{"a restart", "n2", "would stop \"web\" and start it on n2",
			func(_ *cib.Status, _ *cib.Config, c *hbplugin.Claim) { c.Meta = nil }},
		{"no such node", "n4", `not in the cluster: its nodes are n1, n2, n3`, nil},
		{"down", "n3", "not online", nil},
		{"standby", "n2", "in standby", func(s *cib.Status, _ *cib.Config,
			_ *hbplugin.Claim) {
			s.Standby["n2"] = true
		}},
		{"unmanaged", "n2", "unmanaged or blocked",
			func(s *cib.Status, _ *cib.Config, _ *hbplugin.Claim) { s.Places["web"] = cib.Place{} }},
		{"at work", "n2", "at work on \"web\" (Migrating)", func(s *cib.Status, _ *cib.Config, _ *hbplugin.Claim) {
			s.Places["web"] = cib.Place{Managed: true, Pending: "Migrating"}
		}},
		{"moved for good", "n2", "cli-prefer-web", func(_ *cib.Status, c *cib.Config, _ *hbplugin.Claim) {
			c.Constraints = []cib.Constraint{{ID: "cli-prefer-web"}}
		}},
		{"moved for a time", "n2", "", func(_ *cib.Status, c *cib.Config, _ *hbplugin.Claim) {
			c.Constraints = []cib.Constraint{{ID: "cli-prefer-web", Until: now.Add(time.Hour)}}
		}},
	} {
		s, conf, claim := good()
		if tt.change != nil {
			tt.change(&s, &conf, &claim)
		}
		agent, err := CheckMove(s, conf, claim, tt.node, now)
		switch {
		case tt.want == "" && (err != nil || agent != hbplugin.OwnAgent):
			t.Errorf("%s: %q, %v", tt.name, agent, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
