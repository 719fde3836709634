package savedstate

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/resource/domainxml"
)

// isOfGuest returns why a saved state is not that of the guest, or "", and the guest's own XML, which gets the UUID and
// the MAC addresses of the saved state where it has none, since libvirt draws others each time, and its machine type.
func isOfGuest(saved, own string) (why, xml string, err error) {
	o, err := domainxml.Parse(own)
	if err != nil {
		return "", "", fmt.Errorf("the guest's own description: %w", err)
	}
	s, err := domainxml.Parse(saved)
	switch {
	case err != nil:
		return "its description of the guest cannot be read: " + err.Error(), "", nil
	case s.Name != o.Name || o.UUID != "" && s.UUID != o.UUID:
		return fmt.Sprintf("it is the state of guest %q with UUID %s", s.Name, s.UUID), "", nil
	}
	return "", asSaved(o.WithUUID(s.UUID), s.Text), nil
}

// asSaved gives a domain's XML what libvirt would else choose for it again, as it was when the guest was saved.
func asSaved(own, saved string) string {
	guest, was := &libvirtxml.Domain{}, &libvirtxml.Domain{}
	if guest.Unmarshal(own) != nil || was.Unmarshal(saved) != nil {
		return own
	}
	return withMachine(withMACs(own, guest, was), guest, was)
}

var (
	machinePattern   = regexp.MustCompile(`\bmachine\s*=\s*(?:'[^']*'|"[^"]*")`)
	machineCharacter = regexp.MustCompile(`^[A-Za-z0-9._+-]+$`)
)

// withMachine gives a domain's XML the machine type that the guest had when it was saved, where its own is an alias of
// the newest of a kind, such as "q35" for "pc-q35-9.2": after an upgrade of QEMU that is another one.
func withMachine(own string, guest, was *libvirtxml.Domain) string {
	if guest.OS == nil || was.OS == nil || guest.OS.Type == nil || was.OS.Type == nil {
		return own
	}
	from, to := guest.OS.Type.Machine, was.OS.Type.Machine
	if from == to || from == "" || !machineCharacter.MatchString(to) || !isNewestOf(from, to) {
		return own
	}
	return domainxml.EditTags(own, "domain/os/type", func(_ xml.StartElement, tag string) string {
		return machinePattern.ReplaceAllLiteralString(tag, "machine='"+to+"'")
	})
}

// isNewestOf reports whether a machine type may be the one of QEMU's alias.
func isNewestOf(alias, machine string) bool {
	switch alias {
	case "pc":
		alias = "pc-i440fx"
	case "q35":
		alias = "pc-q35"
	}
	return strings.HasPrefix(machine, alias+"-")
}

// withMACs gives the network cards of a domain's XML that have no MAC address those of the same guest when it was
// saved, where it has as many. libvirt takes other addresses for other hardware (virDomainNetDefCheckABIStability).
func withMACs(own string, guest, was *libvirtxml.Domain) string {
	if guest.Devices == nil || was.Devices == nil || len(guest.Devices.Interfaces) != len(was.Devices.Interfaces) {
		return own
	}
	card := 0
	return domainxml.EditTags(own, "domain/devices/interface", func(_ xml.StartElement, tag string) string {
		if card == len(was.Devices.Interfaces) {
			return tag
		}
		has, mac := guest.Devices.Interfaces[card].MAC, was.Devices.Interfaces[card].MAC
		if card++; has != nil || mac == nil || strings.HasSuffix(tag, "/>") {
			return tag
		}
		var escaped strings.Builder
		_ = xml.EscapeText(&escaped, []byte(mac.Address)) // a Builder takes all
		return tag + "<mac address='" + escaped.String() + "'/>"
	})
}
