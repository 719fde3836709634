package witness

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// machine is the name that systemd-machined has for the guest of a process, from the scope of
// its control group (cgroups(7)), and "" where it is in none. It is what is left of a
// QEMU that exits: the command line goes with the memory, the control group stays to the end.
func (h Host) machine(pid int) string {
	raw, err := os.ReadFile(h.path(pid, "cgroup"))
	if err != nil {
		return ""
	}
	return parseCgroup(raw)
}

// parseCgroup finds a scope of libvirt's QEMU driver, as in
// "0::/machine.slice/machine-qemu\x2d3\x2dvm1.scope/libvirt/emulator", and returns "vm1".
func parseCgroup(raw []byte) string {
	for line := range bytes.Lines(raw) {
		for _, part := range strings.Split(strings.TrimSpace(string(line)), "/") {
			scope, isMachine := strings.CutPrefix(part, `machine-qemu\x2d`)
			scope, isScope := strings.CutSuffix(scope, ".scope")
			_, name, numbered := strings.Cut(unescapeUnit(scope), "-") // behind libvirt's number of the guest
			if isMachine && isScope && numbered && name != "" {
				return name
			}
		}
	}
	return ""
}

// unescapeUnit undoes \xNN (systemd-escape(1)).
func unescapeUnit(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		code, err := uint64(0), error(nil)
		if len(rest) >= 2 {
			code, err = strconv.ParseUint(rest[:2], 16, 8)
		}
		if len(rest) < 2 || err != nil {
			b.WriteString(`\x`)
			s = rest
			continue
		}
		b.WriteByte(byte(code))
		s = rest[2:]
	}
}

// minCut is where a machine's name may have been cut: libvirt keeps 64 characters with its own
// prefix in them.
const minCut = 40

// mayBe tells whether a machine may be that of a guest. libvirt leaves out of a guest's name what
// a host name may not have, and cuts it, so that only letters and digits are compared.
func mayBe(machine, guest string) bool {
	m, g := plainName(machine), plainName(guest)
	return machine == "" || m == g || len(machine) >= minCut && strings.HasPrefix(g, m)
}

// plainName is what of a name surely stands in the machine's: ASCII letters and digits.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, name)
}
