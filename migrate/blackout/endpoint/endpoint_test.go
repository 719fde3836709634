package endpoint

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	tests := map[string]Endpoint{
		"udp://192.0.2.1:7007":           {Proto: "udp", Host: "192.0.2.1", Port: 7007},
		"tcp://host:1":                   {Proto: "tcp", Host: "host", Port: 1},
		"tcp://[2001:db8::1]:65535":      {Proto: "tcp", Host: "2001:db8::1", Port: 65535},
		"udp://[fe80::1%eth0]:7007":      {Proto: "udp", Host: "fe80::1%eth0", Port: 7007},
		"":                               {},
		"192.0.2.1:7007":                 {},
		"connect://h:22":                 {Proto: "connect", Host: "h", Port: 22},
		"http://192.0.2.1:7007":          {Proto: "http", Host: "192.0.2.1", Port: 7007},
		"http://host/a?b=c":              {Proto: "http", Host: "host", Port: 80},
		"https://[2001:db8::1]/":         {Proto: "https", Host: "2001:db8::1", Port: 443},
		"icmp://192.0.2.1":               {Proto: "icmp", Host: "192.0.2.1"},
		"icmp://[fe80::1%eth0]":          {Proto: "icmp", Host: "fe80::1%eth0"},
		"dns://192.0.2.1/example.":       {Proto: "dns", Host: "192.0.2.1", Port: 53, Query: "example.", Kind: 1},
		"dns://[::1]:5353/a.b?type=aaaa": {Proto: "dns", Host: "::1", Port: 5353, Query: "a.b", Kind: 28},
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
		got, err := Parse(name)
		if want.Proto == "" {
			if err == nil || !strings.HasPrefix(err.Error(), "target ") {
				t.Errorf("%q: %+v, %v; want an error that names the target", name, got, err)
			}
			continue
		}
		want.Name = name
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
		e, err := Parse(name)
		if err == nil && (e.Host == "" || e.Port == 0 && e.Proto != ICMP || !Known(e.Proto)) {
			t.Errorf("%q is read as %+v", name, e)
		}
	})
}
