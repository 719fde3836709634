package hostproc

import (
	"path"
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

// maxArguments is how many arguments of a command line are told apart; empty ones cost more memory here than there.
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
	name := value
	for _, field := range splitCommas(value) {
		if guest, found := strings.CutPrefix(field, "guest="); found {
			return guest
		}
	}
	if fields := splitCommas(value); len(fields) > 0 {
		name = fields[0]
	}
	return name
}

// splitCommas splits at single commas and turns double ones into one.
func splitCommas(value string) []string {
	var fields []string
	var field strings.Builder
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] != ',':
			field.WriteByte(value[i])
		case i+1 < len(value) && value[i+1] == ',':
			field.WriteByte(',')
			i++
		default:
			fields = append(fields, field.String())
			field.Reset()
		}
	}
	return append(fields, field.String())
}

// isEmulator reports whether a program is called like QEMU: qemu-system-x86_64,
// qemu-kvm, kvm.
func isEmulator(program string) bool {
	base := path.Base(program)
	return (strings.HasPrefix(base, "qemu") || base == "kvm") && !isHelper(base)
}

// helpers are programs of QEMU's and libvirt's that are called like QEMU and run no guest, beside those that are called
// helpers.
var helpers = []string{"qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon", "qemu-ga", "qemu-rdp", "qemu-edid", "qemu-keymap", "qemu-trace-stap",
	"qemu-pr-helper", "qemu-bridge-helper", "qemu-vmsr-helper"}

// commLength is what the kernel keeps of a program's name, in bytes (TASK_COMM_LEN without its end).
const commLength = 15

// isHelper reports whether a program works for guests beside QEMU, by its file's name or by what the kernel keeps of that.
func isHelper(base string) bool {
	return strings.HasSuffix(base, "-helper") || slices.ContainsFunc(helpers, func(name string) bool {
		return base == name || base == name[:min(len(name), commLength)]
	})
}

// isUUID reports whether s has the dashed form of 36 characters.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}
