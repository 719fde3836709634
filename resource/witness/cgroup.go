package witness

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// cgroup is the control group of a process (cgroups(7)), and empty where it cannot be read. It is what is
// left of a QEMU that exits: the command line goes with the memory, the control group stays to the end.
func (h Host) cgroup(pid int) []byte {
	raw, err := os.ReadFile(h.path(pid, "cgroup"))
	if err != nil {
		return nil
	}
	return raw
}

// parseCgroup finds the name that libvirt's QEMU driver has given to a guest's control group: by systemd-machined a
// scope, as in "0::/machine.slice/machine-qemu\x2d3\x2dvm1.scope/libvirt/emulator", and without it
// "/machine/qemu-3-vm1.libvirt-qemu" (virCgroupNewMachine). It returns "vm1", and "" where there is none.
func parseCgroup(raw []byte) string {
	for line := range bytes.Lines(raw) {
		for part := range strings.SplitSeq(strings.TrimSpace(string(line)), "/") {
			machine := machineOf(part)
			driver, numbered, _ := strings.Cut(machine, "-")
			_, name, isNumbered := strings.Cut(numbered, "-") // behind libvirt's number of the guest
			if driver == "qemu" && isNumbered && name != "" {
				return name
			}
		}
	}
	return ""
}

// machineOf is the name of a machine, such as "qemu-3-vm1", of which a part of a control group's path is.
func machineOf(part string) string {
	if plain, found := strings.CutSuffix(part, ".libvirt-qemu"); found {
		return plain
	}
	scope, isMachine := strings.CutPrefix(part, "machine-")
	scope, isScope := strings.CutSuffix(scope, ".scope")
	if !isMachine || !isScope {
		return ""
	}
	return unescapeUnit(scope)
}

// ofAnotherUnit tells whether a control group is that of a unit of systemd's in which libvirt starts no guests, such as
// another service or a container. Where it makes no control groups, guests are in that of libvirt's own
// service, and those of a session, which matter unless system is set, in a user's.
func ofAnotherUnit(raw []byte, system bool) bool {
	for line := range bytes.Lines(raw) {
		path := strings.TrimSpace(string(line))
		if strings.Contains(path, "/user.slice/") {
			return system
		}
		for part := range strings.SplitSeq(path, "/") {
			name, isService := strings.CutSuffix(part, ".service")
			if isService || strings.HasSuffix(part, ".scope") {
				return name != "libvirtd" && name != "virtqemud"
			}
		}
	}
	return false
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
