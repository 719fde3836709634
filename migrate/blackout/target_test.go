package blackout

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	tests := map[string]endpoint{
		"udp://192.0.2.1:7007":           {proto: "udp", host: "192.0.2.1", port: 7007},
		"tcp://host:1":                   {proto: "tcp", host: "host", port: 1},
		"tcp://[2001:db8::1]:65535":      {proto: "tcp", host: "2001:db8::1", port: 65535},
		"udp://[fe80::1%eth0]:7007":      {proto: "udp", host: "fe80::1%eth0", port: 7007},
		"":                               {},
		"192.0.2.1:7007":                 {},
		"connect://h:22":                 {proto: "connect", host: "h", port: 22},
		"http://192.0.2.1:7007":          {proto: "http", host: "192.0.2.1", port: 7007},
		"http://host/a?b=c":              {proto: "http", host: "host", port: 80},
		"https://[2001:db8::1]/":         {proto: "https", host: "2001:db8::1", port: 443},
		"icmp://192.0.2.1":               {proto: "icmp", host: "192.0.2.1"},
		"icmp://[fe80::1%eth0]":          {proto: "icmp", host: "fe80::1%eth0"},
		"dns://192.0.2.1/example.":       {proto: "dns", host: "192.0.2.1", port: 53, query: "example.", kind: 1},
		"dns://[::1]:5353/a.b?type=aaaa": {proto: "dns", host: "::1", port: 5353, query: "a.b", kind: 28},
		"dns://192.0.2.1":                {},
		"dns://192.0.2.1/":               {},
		"dns://192.0.2.1/a..b":           {},
		"dns://192.0.2.1/a?type=X":       {},
		"icmp://":                        {},
		"icmp://host/x":                  {},
		"http://":                        {},
		"http://host:0/":                 {},
		"https://host:x/":                {},
		"ftp://host/":                    {},
		"udp://192.0.2.1":                {},
		"udp://:7007":                    {},
		"udp://2001:db8::1:7007":         {},
		"udp://host:0":                   {},
		"udp://host:65536":               {},
		"udp://host:http":                {},
		"udp://host:7007/":               {},
		"UDP://host:7007":                {},
		"udp://host:-1":                  {},
		"tcp://[2001:db8::1]":            {},
		"tcp://[2001:db8::1:7007":        {},
		"udp://192.0.2.1:7007:":          {},
		"udp://192.0.2.1: 7007":          {},
		"udp://192.0.2.1:7007\n":         {},
		"udp://192.0.2.1:0x1b5f":         {},
		"udp:/192.0.2.1:7007":            {},
		"udp//192.0.2.1:7007":            {},
		"udp://192.0.2.1,192.0.2.2:":     {},
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
	f.Add("dns://[::1]:53/a.b?type=MX")
	f.Add("https://host/x")
	f.Add("udp://192.0.2.1:7007")
	f.Add("tcp://[fe80::1%eth0]:1")
	f.Fuzz(func(t *testing.T, name string) {
		e, err := parseTarget(name)
		if err == nil && (e.host == "" || e.port == 0 && e.proto != protoICMP || !knownProto(e.proto)) {
			t.Errorf("%q is read as %+v", name, e)
		}
	})
}
