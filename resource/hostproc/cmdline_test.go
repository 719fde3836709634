package hostproc

import (
	"strings"
	"testing"
)

const uuidA = "5f1a0b52-9a2b-4d0a-8f5e-3a6b7c8d9e0f"

func cmdline(args ...string) []byte { return []byte(strings.Join(args, "\x00") + "\x00") }

func TestParseCmdline(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  []byte
		want identity
		ok   bool
	}{
		{"libvirt's form", cmdline("/usr/bin/qemu-system-x86_64", "-name", "guest=vm1,debug-threads=on", "-S", "-uuid",
			uuidA), identity{"vm1", uuidA, false}, true},
		{"plain name", cmdline("/usr/bin/kvm", "-name", "vm1"), identity{name: "vm1"}, true},
		{"two dashes", cmdline("qemu-kvm", "--name", "vm1,process=x", "--uuid", strings.ToUpper(uuidA)),
			identity{"vm1", uuidA, false}, true},
		{"comma in the name", cmdline("qemu-kvm", "-name", "guest=a,,b,debug-threads=on"), identity{name: "a,b"}, true},
		{"guest= not first", cmdline("qemu-kvm", "-name", "debug-threads=on,guest=vm1"), identity{name: "vm1"}, true},
		{"incoming", cmdline("qemu-kvm", "-name", "guest=vm1", "-uuid", uuidA, "-incoming", "defer"),
			identity{"vm1", uuidA, true}, true},
		{"wrapper with both", cmdline("/opt/emulate", "-name", "guest=vm1", "-uuid", uuidA), identity{"vm1", uuidA, false}, true},
		{"other program with a name only", cmdline("/usr/bin/find", "/", "-name", "vm1"), identity{name: "vm1"}, false},
		{"libvirt's probing", cmdline("/usr/bin/qemu-system-x86_64", "-S", "-no-user-config", "-nodefaults", "-machine",
			"none"), identity{}, false},
		{"virsh", cmdline("virsh", "destroy", "vm1"), identity{}, false},
		{"name without value", cmdline("qemu-kvm", "-name"), identity{}, false},
		{"malformed uuid", cmdline("qemu-kvm", "-uuid", "no-uuid"), identity{uuid: "no-uuid"}, false},
		{"name that is a prefix", cmdline("qemu-kvm", "-name", "guest=vm10"), identity{name: "vm10"}, true},
		{"kernel thread", nil, identity{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseCmdline(c.raw)
			if got != c.want || ok != c.ok {
				t.Errorf("parseCmdline = %+v, %v, want %+v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

// FuzzParseCmdline checks that any name survives QEMU's quoting, whatever else is on
// the command line.
func FuzzParseCmdline(f *testing.F) {
	f.Add("vm1", "-S")
	f.Add("a,b", "-incoming")
	f.Add("guest=x", "--")
	f.Add("", "-name")
	f.Fuzz(func(t *testing.T, name, extra string) {
		_, _ = parseCmdline([]byte(name + extra))
		if name == "" || strings.Contains(name, "\x00") || strings.Contains(extra, "\x00") {
			t.Skip()
		}
		raw := cmdline("qemu-kvm", "-name", "guest="+strings.ReplaceAll(name, ",", ",,"), "-uuid", uuidA, extra)
		if got, ok := parseCmdline(raw); !ok || got.name != name || got.uuid != uuidA {
			t.Errorf("name %q became %q (%v)", name, got.name, ok)
		}
	})
}

func TestParseStat(t *testing.T) {
	line := func(comm, state, threads string) string {
		return "42 (" + comm + ") " + state + " 6 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 " + threads + " 0 12345 0 0 0"
	}
	for _, c := range []struct {
		name, raw string
		want      procStat
		dead, ok  bool
	}{
		{"runs", line("qemu-system-x86", "S", "7"), procStat{"qemu-system-x86", 'S', 6, 7, 12345, false}, false, true},
		{"brackets in the name", line("a) S (b", "S", "1"), procStat{"a) S (b", 'S', 6, 1, 12345, false}, false, true},
		{"zombie", line("qemu", "Z", "1"), procStat{"qemu", 'Z', 6, 1, 12345, false}, true, true},
		{"zombie leader with threads", line("qemu", "Z", "3"), procStat{"qemu", 'Z', 6, 3, 12345, false}, false, true},
		{"empty", "", procStat{}, false, false},
		{"short", "42 (x) S 1", procStat{}, false, false},
		{"no parent", strings.Replace(line("x", "S", "1"), " 6 ", " x ", 1), procStat{}, false, false},
		{"no state", line("x", "\x00", "1"), procStat{}, false, false},
		{"a number for the state", line("x", "0", "1"), procStat{}, false, false},
		{"two states", line("x", "SR", "1"), procStat{}, false, false},
		{"no flags", strings.Replace(line("x", "S", "1"), " -1 0 ", " -1 x ", 1), procStat{}, false, false},
		{"a kernel thread", strings.Replace(line("x", "S", "1"), " -1 0 ", " -1 2129984 ", 1),
			procStat{"x", 'S', 6, 1, 12345, true}, false, true},
		{"a name with a line break", line("a) S 1\n(b", "S", "1"), procStat{"a) S 1\n(b", 'S', 6, 1, 12345, false}, false, true},
		{"no number", strings.Replace(line("x", "S", "1"), "12345", "soon", 1), procStat{}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseStat([]byte(c.raw))
			if (err == nil) != c.ok {
				t.Fatalf("error %v, want ok %v", err, c.ok)
			}
			if got != c.want || got.dead() != c.dead {
				t.Errorf("parseStat = %+v dead %v, want %+v dead %v", got, got.dead(), c.want, c.dead)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (qemu) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0"))
	f.Add([]byte(") ("))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseStat(raw); err == nil && !isLetter(s.state) {
			t.Errorf("parseStat(%q) has no state and no error", raw)
		}
	})
}
