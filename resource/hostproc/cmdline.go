package hostproc

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// identity is what a QEMU command line tells about its guest.
type identity struct {
	name     string
	uuid     string // lower case, empty when the command line has none
	incoming bool   // QEMU was started to receive a guest
}

// parseCmdline reads the content of /proc/PID/cmdline: arguments that end in NUL
// (proc(5)). ok is false for what is not the QEMU process of a named guest.
//
// libvirt gives every QEMU both -name and -uuid, so the two together are
// believed whatever the program is called (emulator wrappers); one alone needs
// a program that is called like QEMU.
func parseCmdline(raw []byte) (id identity, ok bool) {
	args := arguments(raw)
	for i := 1; i < len(args); i++ {
		option, isOption := option(args[i])
		if !isOption {
			continue
		}
		if option == "incoming" {
			id.incoming = true
			continue
		}
		if i+1 == len(args) {
			break
		}
		switch option {
		case "name":
			i++
			id.name = guestName(args[i])
		case "uuid":
			i++
			id.uuid = strings.ToLower(args[i])
		}
	}
	both := id.name != "" && isUUID(id.uuid)
	return id, both || (isEmulator(args[0]) && (id.name != "" || isUUID(id.uuid)))
}

// maxArguments is how many arguments of a command line are distinguished; empty ones cost more memory here than there.
const maxArguments = 1 << 16

// arguments are those of a command line, the program's name first.
func arguments(raw []byte) []string {
	return strings.SplitN(strings.TrimSuffix(string(raw), "\x00"), "\x00", maxArguments)
}

// option strips the one or two dashes that QEMU accepts.
func option(arg string) (string, bool) {
	name, found := strings.CutPrefix(arg, "-")
	name = strings.TrimPrefix(name, "-")
	return name, found
}

// guestName takes the name out of the value of -name: "guest=NAME,…" as libvirt
// writes it, or "NAME,…". QEMU doubles a comma that belongs to the name.
func guestName(value string) string {
	fields := splitCommas(value)
	for _, field := range fields {
		if guest, found := strings.CutPrefix(field, "guest="); found {
			return guest
		}
	}
	return fields[0]
}

// splitCommas splits at single commas and turns double ones into one. No argument has a NUL.
func splitCommas(value string) []string {
	fields := strings.Split(strings.ReplaceAll(value, ",,", "\x00"), ",")
	for i := range fields {
		fields[i] = strings.ReplaceAll(fields[i], "\x00", ",")
	}
	return fields
}

// isEmulator reports whether a program is called like QEMU: qemu-system-x86_64,
// qemu-kvm, kvm.
func isEmulator(program string) bool {
	base := path.Base(program)
	return (strings.HasPrefix(base, "qemu") || base == "kvm") && !isHelper(base)
}

// helpers are programs of QEMU's and libvirt's that are called like QEMU and run no guest, beside those that are called
// helpers.
var helpers = []string{"qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon", "qemu-ga", "qemu-rdp", "qemu-edid",
	"qemu-keymap",
	"qemu-trace-stap", "qemu-pr-helper", "qemu-bridge-helper", "qemu-vmsr-helper"}

// commLength is what the kernel keeps of a program's name, in bytes (TASK_COMM_LEN without its end).
const commLength = 15

// isHelper reports whether a program works for guests beside QEMU, by its file's name or by what the kernel keeps of
// that.
func isHelper(base string) bool {
	return strings.HasSuffix(base, "-helper") || slices.ContainsFunc(helpers, func(name string) bool {
		return base == name || base == name[:min(len(name), commLength)]
	})
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// isUUID reports whether s has the dashed form of 36 characters.
func isUUID(s string) bool { return uuidForm.MatchString(s) }
