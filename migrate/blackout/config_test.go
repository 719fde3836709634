package blackout

import (
	"strings"
	"testing"
	"time"
)

func TestParseTarget(t *testing.T) {
	tests := map[string]endpoint{
		"udp://192.0.2.1:7007":       {proto: "udp", host: "192.0.2.1", port: 7007},
		"tcp://host:1":               {proto: "tcp", host: "host", port: 1},
		"tcp://[2001:db8::1]:65535":  {proto: "tcp", host: "2001:db8::1", port: 65535},
		"udp://[fe80::1%eth0]:7007":  {proto: "udp", host: "fe80::1%eth0", port: 7007},
		"":                           {},
		"192.0.2.1:7007":             {},
		"http://192.0.2.1:7007":      {},
		"udp://192.0.2.1":            {},
		"udp://:7007":                {},
		"udp://2001:db8::1:7007":     {},
		"udp://host:0":               {},
		"udp://host:65536":           {},
		"udp://host:http":            {},
		"udp://host:7007/":           {},
		"UDP://host:7007":            {},
		"udp://host:-1":              {},
		"tcp://[2001:db8::1]":        {},
		"tcp://[2001:db8::1:7007":    {},
		"udp://192.0.2.1:7007:":      {},
		"udp://192.0.2.1: 7007":      {},
		"udp://192.0.2.1:7007\n":     {},
		"udp://192.0.2.1:0x1b5f":     {},
		"udp:/192.0.2.1:7007":        {},
		"udp//192.0.2.1:7007":        {},
		"udp://192.0.2.1,192.0.2.2:": {},
	}
	for name, want := range tests {
		got, err := parseTarget(name)
		if want.proto == "" {
			if err == nil || !strings.HasPrefix(err.Error(), "target ") {
				t.Errorf("%q: %+v, %v; want an error that names the target", name, got, err)
			}
			continue
		}
		want.name = name
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("udp://192.0.2.1:7007")
	f.Add("tcp://[fe80::1%eth0]:1")
	f.Fuzz(func(t *testing.T, name string) {
		e, err := parseTarget(name)
		if err == nil && (e.host == "" || e.port == 0 || e.proto != "udp" && e.proto != "tcp") {
			t.Errorf("%q is read as %+v", name, e)
		}
	})
}

func TestValidate(t *testing.T) {
	one := []string{"udp://192.0.2.1:7007"}
	tests := map[string]struct {
		cfg  Config
		want string // part of the error, none when empty
	}{
		"defaults":          {Config{Targets: one}, ""},
		"no target":         {Config{}, "no target"},
		"twice":             {Config{Targets: append(one, one...)}, "given twice"},
		"too many":          {Config{Targets: make([]string, maxTargets+1)}, "257 targets"},
		"short interval":    {Config{Targets: one, Interval: time.Microsecond}, "interval 1µs"},
		"long interval":     {Config{Targets: one, Interval: time.Hour}, "interval 1h"},
		"negative interval": {Config{Targets: one, Interval: -1}, "interval"},
		"short bucket":      {Config{Targets: one, Bucket: time.Microsecond}, "bucket 1µs"},
		"negative for":      {Config{Targets: one, For: -1}, "negative"},
		"negative retry":    {Config{Targets: one, RetryEvery: -1}, "TCP"},
		"negative progress": {Config{Targets: one, ProgressEvery: -1}, "between two reports"},
	}
	for name, tt := range tests {
		err := tt.cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
