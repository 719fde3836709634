package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/scenario"
)

func TestParseDemo(t *testing.T) {
	for _, args := range [][]string{
		nil, {"--hypervisor=xen"}, {"--agent=Xen"}, {"--agent=VirtualDomain", "--manager=pacemaker"},
		{"--manager=heartbeat", "--agent=vmferry", "--scenario=graceful-shutdown"}, {"--interval=1ms"},
		{"--scenario=split-brain", "--keep"}, {"--scenario=mirror"},
	} {
		if _, err := parseDemo(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	for args, want := range map[string]string{
		"--hypervisor=bhyve":              "use qemu or xen",
		"--agent=Libvirt":                 "--agent must be vmferry, VirtualDomain or Xen",
		"--manager=corosync":              "--manager must be pacemaker or heartbeat",
		"--manager=heartbeat --agent=Xen": "agent Xen does not work with heartbeat",
		"--scenario=flood":                "--scenario must be graceful-shutdown, split-brain, hang or mirror",
		"--scenario=mirror --guests=2":    "--guests does not go with --scenario mirror",
		"--scenario=hang --rounds=2":      "--rounds does not go with --scenario hang",
		"--guests=7":                      "--guests must be 1 to 6",
		"--guests=0":                      "--guests must be 1 to 6",
		"--interval=2s":                   "--interval must be",
		"--rounds=0":                      "--rounds must be",
		"faster":                          `unexpected argument "faster"`,
	} {
		if _, err := parseDemo(strings.Fields(args)); !errors.Is(err, errUsage) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
}

func TestShapes(t *testing.T) {
	for _, test := range []struct {
		args    string
		running lab.Shape
		want    string
	}{
		{"", "", "[plain guard mirror]"},
		{"", lab.Plain, "[plain]"},
		{"", lab.Field, "[plain]"}, // which is refused
		{"", lab.Guard, "[guard]"},
		{"", lab.Mirror, "[mirror]"},
		{"--scenario=mirror", "", "[mirror]"},
		{"--scenario=mirror", lab.Plain, "[mirror]"}, // which is refused
		{"--agent=vmferry", lab.Mirror, "[plain]"},   // which is refused
		{"--hypervisor=qemu", "", "[plain guard mirror]"},
		{"--hypervisor=xen", "", "[plain]"},
		{"--manager=heartbeat", "", "[plain]"},
		{"--manager=heartbeat", lab.Guard, "[plain]"}, // which is refused
		{"--keep", "", "[plain]"},
		{"--keep", lab.Guard, "[guard]"},
		{"--scenario=graceful-shutdown", "", "[plain]"},
		{"--scenario=hang", "", "[guard]"},
		{"--scenario=split-brain", lab.Plain, "[guard]"}, // which is refused
	} {
		o, err := parseDemo(strings.Fields(test.args))
		if got := fmt.Sprint(o.shapes(test.running)); err != nil || got != test.want {
			t.Errorf("%q on %q: got %s, %v, want %s", test.args, test.running, got, err, test.want)
		}
	}
}

func TestRound(t *testing.T) {
	managers := (&cluster.Cluster{Hypervisor: cluster.Xen}).Managers()
	for args, want := range map[string]string{
		"":                      "pacemaker/vmferry pacemaker/Xen heartbeat/vmferry",
		"--agent=vmferry":       "pacemaker/vmferry heartbeat/vmferry",
		"--agent=Xen":           "pacemaker/Xen",
		"--manager=heartbeat":   "heartbeat/vmferry",
		"--agent=VirtualDomain": "",
	} {
		o, err := parseDemo(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, turn := range o.round(managers) {
			got = append(got, turn.manager.Name()+"/"+scenario.Label(turn.agent))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}
