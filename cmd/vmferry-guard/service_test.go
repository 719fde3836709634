package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/settings"
)

// What the guard's promises rest on is in its unit, and what would break them is not.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("vmferry-guard.service")
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		if _, twice := set[m[1]]; twice {
			t.Errorf("%s is set twice", m[1])
		}
		set[m[1]] = m[2]
	}
	for key, want := range map[string]string{
		"ConditionPathExists":      "/etc/vmferry/guard.toml",
		"Before":                   "pacemaker.service pacemaker_remote.service heartbeat.service",
		"StartLimitIntervalSec":    "0",
		"WatchdogSec":              "15s",
		"TimeoutAbortSec":          "3s",
		"Type":                     "notify",
		"Restart":                  "always",
		"RestartPreventExitStatus": "78",
		"KillMode":                 "process",
		"LimitMEMLOCK":             "infinity",
		"OOMScoreAdjust":           "-1000",
		"OOMPolicy":                "continue",
		"RuntimeDirectory":         "vmferry",
		"RuntimeDirectoryMode":     "0700",
		"RuntimeDirectoryPreserve": "yes",
		"NoNewPrivileges":          "yes",
		"ProtectSystem":            "full",
		"RestrictAddressFamilies":  "AF_UNIX AF_INET AF_INET6 AF_PACKET AF_NETLINK",
	} {
		if set[key] != want {
			t.Errorf("%s=%s, want %s", key, set[key], want)
		}
	}
	for _, key := range []string{"CPUSchedulingResetOnFork", "RestrictRealtime", "ProtectClock", "PrivateDevices",
		"DeviceAllow", "DevicePolicy", "PrivateNetwork", "ProtectKernelTunables", "Nice", "MemoryMax"} {
		if value, ok := set[key]; ok {
			t.Errorf("%s=%s", key, value)
		}
	}
	for needed := range strings.FieldsSeq("CAP_KILL CAP_SYS_PTRACE CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK " +
		"CAP_DAC_OVERRIDE CAP_SYS_RAWIO CAP_SYS_ADMIN CAP_SYS_NICE CAP_SYS_RESOURCE CAP_FOWNER CAP_CHOWN") {
		if strings.Contains(set["CapabilityBoundingSet"]+" ", needed+" ") {
			t.Errorf("%s is taken away", needed)
		}
	}
	managers := strings.Fields(set["Before"])
	for _, unit := range managerUnits {
		if !strings.Contains(strings.Join(managers, " "), unit) {
			t.Errorf("the guard does not outlive %s", unit)
		}
	}
}

// The example is a configuration, as it is and with everything in it switched on.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("guard.toml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := settings.Parse(string(text))
	if err != nil || s.Device == "" || s.Ping != nil || s.Link != nil || s.Revoke != nil || s.TrustExpiry {
		t.Errorf("%+v, %v", s, err)
	}
	all := regexp.MustCompile(`(?m)^#([a-z0-9_]+ = |\[)`).ReplaceAllString(string(text), "$1")
	s, err = settings.Parse(all)
	if err != nil || s.Node == "" || len(s.Ping) != 2 || len(s.Link) != 2 || s.Revoke == nil || s.Admit == nil ||
		s.Watchdog == "" || !s.TrustExpiry {
		t.Errorf("%+v, %v", s, err)
	}
}
