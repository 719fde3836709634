package libvirt

import (
	"strings"
	"testing"
)

func TestCheckURI(t *testing.T) {
	for _, c := range []struct{ uri, refused string }{
		{"", ""},
		{"qemu:///system", ""},
		{"xen:///system", ""},
		{"qemu+ssh://virt@node2:22/system?keyfile=/root/id&no_tty=1", ""},
		{"qemu+tcp://[fe80::1]:16509/system", ""},
		{"qemu+libssh2://node2/system?known_hosts_verify=ignore;sshauth=agent", ""},
		{"tcp://node2-mig:49152", ""},
		{"qemu+tls://node2/system?no_verify=1#command=x", ""}, // libvirt reads no parameters behind #
		{"qemu+ssh://node2/system?socket=/run/command=x", ""},
		{"qemu+ssh://node2/system?commander=x", ""},
		{"qemu+ssh://node2/system?=command", ""},

		{"qemu+ssh://node2/system?command=/tmp/x", `"command"`},
		{"qemu:///system?command=/tmp/x", `"command"`},
		{"qemu+ssh://node2/system?command", `"command"`},
		{"qemu+ssh://node2/system?COMMAND=/tmp/x", `"command"`},
		{"qemu+ssh://node2/system?Netcat=/tmp/x", `"netcat"`},
		{"qemu+ssh://node2/system?no_tty=1&command=/tmp/x", `"command"`},
		{"qemu+ssh://node2/system?no_tty=1;command=/tmp/x", `"command"`},
		{"qemu+ssh://node2/system?&&;;command=/tmp/x", `"command"`},
		{"qemu+ssh://node2/system?%63ommand=/tmp/x", `"command"`},
		{"qemu+ssh://node2/system?%43%4f%4d%4d%41%4e%44=/tmp/x", `"command"`},
		{"qemu+ssh://node2/system?command%00x=/tmp/x", `"command"`}, // a string of C ends there
		{"qemu+ssh://node2/system?command%zz%00=/tmp/x", ""},        // %zz stands for itself
		{"qemu+ssh://node2/system?x=a?command=b", ""},
		{"qemu+ssh://node2/system??command=b", ""},
		{"qemu+ssh://node2?netcat=x", `"netcat"`},
		{"qemu+ssh:///?netcat=x", `"netcat"`},
		{"tcp://node2?command=x", `"command"`},

		{"qemu+ext:///system", `"ext"`},
		{"qemu+EXT://node2/system", `"ext"`},
		{"QEMU+eXt:///system?x=y", `"ext"`},
		{"qemu+ext", ""}, // no URI, and libvirt takes it for an alias
		{"qemu+tcp+ext:///system", `"tcp+ext"`},
		{"qemu+wrong://node2/system", `"wrong"`},

		// The remote daemon opens what it is given by this.
		{"qemu+tcp://node2/system?name=qemu%3A%2F%2F%2Fsystem", ""},
		{"qemu+tcp://node2/system?name=qemu%2Bext:///system%3Fcommand=/tmp/x", `"ext"`},
		{"qemu+tcp://node2/system?NAME=qemu%2Bssh://x/system%3F%2563ommand=/tmp/x", `"command"`},

		{"qemu+ssh://-oProxyCommand=x/system", "begins with a dash"},
		{"qemu+ssh://%2DoProxyCommand=x/system", "begins with a dash"},
		{"qemu+ssh://-lroot@node2/system", "begins with a dash"},
		{"qemu+ssh://root@-oProxyCommand=x:22/system", "begins with a dash"},
		{"qemu+ssh://-x", "begins with a dash"},
		{"qemu+ssh://a@b@-x/system", "begins with a dash"},
		{"tcp://-x:49152", "begins with a dash"},
		{"qemu+ssh://node2/system\n", "control character"},
		{"qemu+ssh://node2/sys\x1b[31mtem", "control character"},
		{"qemu+ssh://no%0ade2/system", "control character"},
	} {
		err := CheckURI(c.uri)
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%q: refused: %v", c.uri, err)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%q: %v, want a refusal that says %s", c.uri, err, c.refused)
		}
	}
}

func TestUnverified(t *testing.T) {
	for _, c := range []struct{ uri, want string }{
		{"qemu+tls://node2/system", ""},
		{"qemu+tls://node2/system?no_verify=0", ""},
		{"qemu+tls://node2/system?no_verify=1", "no_verify=1"},
		{"qemu+tls://node2/system?a=b;NO_VERIFY=1", "no_verify=1"},
		{"qemu+tls://node2/system?no_verify", ""},
		{"qemu+libssh://node2/system?known_hosts_verify=ignore", "known_hosts_verify=ignore"},
		{"qemu+libssh://node2/system?known_hosts_verify=auto", ""},
	} {
		if got := Unverified(c.uri); got != c.want {
			t.Errorf("%q: %q, want %q", c.uri, got, c.want)
		}
	}
}

// What libvirt reads as a parameter or a transport that runs a program is refused, however it is written.
func FuzzCheckURI(f *testing.F) {
	for _, s := range []string{"node2/system", "a@b:1/x?y=z", "x?%63ommand=1", "-x", "h/p?a;b&c=d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		if CheckURI("qemu+ext://"+rest) == nil {
			t.Errorf("%q with the transport ext is accepted", rest)
		}
		before, _, _ := strings.Cut(rest, "#")
		for _, tail := range []string{"&command=x", ";NetCat", "&%6Eetcat=y"} {
			if uri := "qemu+ssh://node2/?" + before + tail; CheckURI(uri) == nil {
				t.Errorf("%q is accepted", uri)
			}
		}
	})
}

func TestDialed(t *testing.T) {
	for uri, want := range map[string]string{
		"qemu+tcp://node2/system":                "node2:16509",
		"qemu+tls://node2/system":                "node2:16514",
		"qemu://node2/system":                    "node2:16514",
		"qemu+ssh://node2/system":                "",
		"xen+libssh2://node2/system?no_verify=1": "",
		"qemu+libssh://node2":                    "",
		"qemu+ssh://virt@node2.example:2222/x":   "node2.example:2222",
		"QEMU+TCP://node2:99/system":             "node2:99",
		"qemu+tcp://[fe80::1]/system":            "[fe80::1]:16509",
		"qemu+tcp://[fe80::1]:5/system":          "[fe80::1]:5",
		"qemu+tcp://192.0.2.2:/system":           "192.0.2.2:16509",
		"qemu:///system":                         "",
		"qemu+unix://node2/system?socket=/run/x": "",
		"qemu+ext://node2/system":                "",
		"qemu+tcp:///system":                     "",
		"qemu+tcp://node2:port/system":           "",
		"":                                       "",
	} {
		if got := Dialed(uri); got != want {
			t.Errorf("%q: %q, want %q", uri, got, want)
		}
	}
}
