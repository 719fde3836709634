package hostproc

import (
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCgroup bounds a process's control groups: a path each of up to PATH_MAX, in a dozen hierarchies.
const maxCgroup = 64 << 10

// place is where the service manager has put a process. The order is that of distrust.
type place int

const (
	atRoot      place = iota // in no group of its own, as where no service manager makes any
	inLibvirt                // in the service of libvirt's daemon, or in a partition of libvirt's
	inUnit                   // in another service of the system
	inSession                // among a user's processes
	inContainer              // in anything else: a container, or a subtree that is delegated to somebody
)

// group is what a process's control groups (cgroups(7)) tell of it.
type group struct {
	place   place
	guest   bool   // it is a group that libvirt's QEMU driver, or systemd-machined for it, made for a guest
	machine string // the name of that guest, as libvirt puts it there; empty where the group does not tell
	scope   string // the name of that group, in which libvirt's number of the guest is
}

// group reads what is left of a QEMU that exits: the command line goes with the memory, the control group stays
// to the end. On a kernel without control groups all processes are at the root.
// base is that of the node, see [Host.base].
func (h Host) group(pid int, base string) (group, error) {
	raw, err := readSome(h.path(pid, "cgroup"), maxCgroup)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return group{}, nil
	case errors.Is(err, unix.ENAMETOOLONG):
		// Kernels before 6.8 do not tell a path of PATH_MAX and more (proc_cgroup_show). Who is given a subtree can
		// nest groups that deep; libvirt and service managers do not.
		return group{place: inContainer}, nil
	case err != nil:
		return group{}, err
	}
	g := parseCgroup(raw, base)
	if g.place == atRoot {
		// A process that exits is shown at the root of each hierarchy of version 1 (PF_EXITING in proc_cgroup_show),
		// but not in cpuset (proc_cpuset_show), where libvirt has a group for each guest.
		raw, _ = readSome(h.path(pid, "cpuset"), maxCgroup)
		if one := groupOf(strings.TrimSuffix(string(raw), "\n"), base); one.guest {
			return one, nil
		}
	}
	return g, nil
}

// base is the path at which the control groups of this node begin: that of process 1, without systemd's own init.scope.
// It is empty unless the node is itself a container that sees the groups around it.
func (h Host) base() (base string) {
	raw, _ := readSome(h.path(1, "cgroup"), maxCgroup)
	for _, one := range hierarchies(raw) {
		path := strings.TrimSuffix(strings.TrimSuffix(one.path, "/init.scope"), "/")
		if one.isManagers() && len(path) > len(base) {
			base = path
		}
	}
	return base
}

// hierarchy is one hierarchy of control groups, and a process's path in it.
type hierarchy struct{ controllers, path string }

// isManagers reports whether service and container managers use the hierarchy to separate processes: the unified one
// and systemd's own.
func (h hierarchy) isManagers() bool { return h.controllers == "" || h.controllers == "name=systemd" }

// hierarchies reads /proc/PID/cgroup.
func hierarchies(raw []byte) (all []hierarchy) {
	for line := range strings.Lines(string(raw)) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if controllers, path, ok := strings.Cut(rest, ":"); ok {
			all = append(all, hierarchy{controllers, path})
		}
	}
	return all
}

// parseCgroup judges /proc/PID/cgroup. A guest's group counts in any hierarchy: without systemd, libvirt makes groups
// in those of controllers alone. The place comes from the hierarchies of managers, and without such from all
// controllers.
func parseCgroup(raw []byte, base string) (g group) {
	all := hierarchies(raw)
	isManaged := slices.ContainsFunc(all, hierarchy.isManagers)
	for _, h := range all {
		one := groupOf(h.path, base)
		if one.guest {
			return one
		}
		if h.isManagers() || !isManaged && !strings.HasPrefix(h.controllers, "name=") {
			g.place = max(g.place, one.place)
		}
	}
	return g
}

// groupOf judges one path from the root on. Only slices and libvirt's partitions may precede a guest's group: below
// a service or a scope somebody else chooses the names. So ".../user@1000.service/app.slice/machine-qemu….scope" is not
// a guest's group, nor is one that a libvirt in a container made.
func groupOf(path, base string) group {
	path = strings.TrimSuffix(path, " (deleted)")
	if rest, found := strings.CutPrefix(path, base); found && (rest == "" || rest[0] == '/') {
		path = rest
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for len(parts) > 0 && parts[0] == ".." { // above the reader's own namespace of control groups
		parts = parts[1:]
	}
	top := 0
	for top < len(parts) && isPartition(parts[top], top) {
		top++
	}
	isUsers := top > 0 && (parts[0] == "user.slice" || parts[0] == "user")
	if top < len(parts) {
		if machine, ok := machineOf(parts[top]); ok {
			return group{place: inLibvirt, guest: true, machine: guestOf(machine), scope: machine}
		}
	}
	switch {
	case isUsers:
		return group{place: inSession}
	case len(parts) == 0:
		return group{place: atRoot}
	case top == len(parts):
		return group{place: inLibvirt}
	}
	return group{place: placeOf(parts[top:])}
}

// isPartition reports whether the part of a path after so many others is a slice of systemd or a partition of libvirt.
//
// Source: virCgroupSetPartitionSuffix of libvirt's vircgroup.c, systemd.slice(5).
func isPartition(part string, before int) bool {
	isTop := before == 0 && (part == "machine" || part == "system" || part == "user")
	return isTop || strings.HasSuffix(part, ".slice") || strings.HasSuffix(part, ".partition")
}

// placeOf judges what is behind the slices: services as systemd and OpenRC call their groups, sessions as
// elogind does.
func placeOf(parts []string) place {
	name, isService := strings.CutSuffix(parts[0], ".service")
	if !isService {
		name, isService = strings.CutPrefix(parts[0], "openrc.")
	}
	switch {
	case isService && slices.Contains(libvirtServices, name):
		return inLibvirt
	case isService && len(parts) > 1 && !strings.HasPrefix(parts[1], "."):
		return inContainer // the service was given a subtree, as that of a container is
	case isService, parts[0] == "init.scope":
		return inUnit
	case isNumber(strings.TrimPrefix(parts[0], "c")) && len(parts) == 1:
		return inSession
	}
	return inContainer
}

// libvirtServices are those of libvirt's daemons, in whose group a guest is where libvirt makes none for it.
var libvirtServices = []string{"libvirtd", "virtqemud", "virtxend"}

// machineOf reads a part of a path as the group of a machine of libvirt's QEMU driver, such as "qemu-3-vm1": with
// systemd-machined "machine-qemu\x2d3\x2dvm1.scope", without it "qemu-3-vm1.libvirt-qemu" (virCgroupNewMachine).
func machineOf(part string) (machine string, ok bool) {
	if plain, found := strings.CutSuffix(part, ".libvirt-qemu"); found {
		return plain, true
	}
	scope, isMachine := strings.CutPrefix(part, "machine-")
	scope, isScope := strings.CutSuffix(scope, ".scope")
	machine = unescapeUnit(scope)
	return machine, isMachine && isScope && strings.HasPrefix(machine, "qemu-")
}

// guestOf is the guest's name behind libvirt's number of it, and empty where a machine is not called so.
func guestOf(machine string) string {
	fields := strings.SplitN(machine, "-", 3)
	if len(fields) < 3 || fields[0] != "qemu" || !isNumber(fields[1]) {
		return ""
	}
	return fields[2]
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

var escapedByte = regexp.MustCompile(`\\x[0-9a-fA-F]{2}`)

// unescapeUnit undoes \xNN (systemd-escape(1)).
func unescapeUnit(s string) string {
	return escapedByte.ReplaceAllStringFunc(s, func(escaped string) string {
		code, _ := strconv.ParseUint(escaped[2:], 16, 8) // the pattern is of two digits
		return string([]byte{byte(code)})
	})
}

// minCut is where a machine's name may have been cut: libvirt keeps 64 characters with its own
// prefix in them.
const minCut = 40

// mayBe reports whether a machine may be that of a guest. libvirt leaves out of a guest's name what
// a host name may not have, and cuts it, so that only letters and digits are compared.
func mayBe(machine, guest string) bool {
	m, g := plainName(machine), plainName(guest)
	return machine == "" || m == g || len(machine) >= minCut && strings.HasPrefix(g, m)
}

// plainName is what of a name is surely in the machine's: ASCII letters and digits.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, name)
}
