package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/scenario"
)

func TestParseDemo(t *testing.T) {
	for _, args := range [][]string{
		nil, {"--hypervisor=xen"}, {"--agent=Xen"}, {"--agent=VirtualDomain", "--manager=pacemaker"},
		{"--manager=heartbeat", "--agent=vmferry", "--scenario=graceful-shutdown"}, {"--interval=1ms"},
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
		"--scenario=flood":                "--scenario must be graceful-shutdown",
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
