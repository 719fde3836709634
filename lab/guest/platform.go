package guest

import (
	"fmt"

	"libvirt.org/go/libvirtxml"
)

// platform is what a hypervisor makes of a guest, and all of a guest that
// depends on it.
type platform struct {
	// Modules that a guest needs: early ones to answer, late ones to be switched
	// off. Those that the kernel has built in are left out.
	early, late []string
	words       []string // of the kernel's command line
	disk        string   // the device of the guest's record; empty: it has none
	describe    func(DomainSpec) *libvirtxml.Domain
}

// platformOf finds the platform of a domain's type.
func platformOf(kind string) (platform, error) {
	switch kind {
	case "qemu", "kvm":
		return emulated(), nil
	case "xen":
		return pvh(), nil
	}
	return platform{}, fmt.Errorf("type %q is neither qemu, kvm nor xen", kind)
}

// kernelWords are the words of the kernel command line that every guest gets,
// with those of its platform. A panic reboots at once, so that it shows up as
// another boot id rather than as a guest that hangs. No IPv6, because its multicast
// would be traffic that nobody requested. Self-tests of ciphers, the certificates
// and the entropy source that go with them take a quarter of an emulated boot, and
// nothing in a guest needs them.
func kernelWords(console string, own ...string) []string {
	words := append([]string{console, "quiet", "panic=-1", "mitigations=off", "nokaslr"}, own...)
	return append(words, "ipv6.disable=1", "cryptomgr.notests",
		"initcall_blacklist=load_system_certificate_list,jent_mod_init,init_encrypted")
}
