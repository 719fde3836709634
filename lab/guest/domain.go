package guest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// DomainSpec says what one guest is. All fields are required but Disk,
// Gateway and those that make it busy.
type DomainSpec struct {
	Name      string // of the domain: letters, digits, dot, dash, underscore
	UUID      string // 8-4-4-4-12 hexadecimal digits
	MAC       string // of its one network card, unicast
	Bridge    string // that the card is on, such as br0
	IP        string // address with the network's length, 10.77.0.101/24
	Gateway   string // default gateway; empty: none
	MemoryMiB uint   // at least MinMemoryMiB
	VCPUs     uint   // 1 to 16
	// Disk is a qcow2 image as the node sees it, or a raw one as nbd://HOST:PORT/EXPORT. Empty: no disk, as a Xen guest
	// must have it.
	Disk   string
	Kernel string // what Build made, as the node sees it
	Initrd string // what Build made, as the node sees it
	Type   string // "qemu" (emulated), "kvm", or "xen" (a PVH guest)

	// DirtyMiB is how much memory the guest rewrites per second, and DirtySetMiB
	// how much in turn: both or neither. The set must leave MinMemoryMiB.
	DirtyMiB, DirtySetMiB uint
	// Ledger gives the guest a ledger on its disk (package ledger), which it must have.
	Ledger bool
	// Database gives the guest a ledger in a table of a database, on the ext4 file system that is its disk. It keeps no
	// record on the disk. Its Initrd must be the one with the database in it.
	Database bool
	// Game gives the guest a game server on GamePort. Its Initrd must be the one with the server in it.
	Game bool
	// NoisePercent is how much of each page that it rewrites cannot be compressed; 0 is all of it.
	NoisePercent uint
}

// MinMemoryMiB is the least memory that a guest comes up with.
const MinMemoryMiB = 96

// GameMemoryMiB is the least memory of a guest with a game server.
const GameMemoryMiB = 160

// DatabaseMemoryMiB is the least memory of a guest with a database.
const DatabaseMemoryMiB = 320

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	nicForm  = regexp.MustCompile(`^[^\s/:]{1,15}$`)
	nbdForm  = regexp.MustCompile(`^nbd://([A-Za-z0-9.-]+):([0-9]+)/([A-Za-z0-9._-]+)$`)
	pathForm = regexp.MustCompile(`^/[^\x00-\x1f]*$`)
)

// Domain returns the libvirt domain XML of a guest (libvirt's formatdomain). The
// processor model and the disk's cache mode are such that the guest can be
// migrated between any two nodes of a lab.
func Domain(s DomainSpec) (string, error) {
	if err := s.check(); err != nil {
		return "", fmt.Errorf("describe guest %q: %w", s.Name, err)
	}
	p, err := platformOf(s.Type)
	if err != nil {
		return "", err
	}
	text, err := p.describe(s).Marshal()
	if err != nil {
		return "", fmt.Errorf("describe guest %q: %w", s.Name, err)
	}
	return text + "\n", nil
}

func (s DomainSpec) check() error {
	switch {
	case !nameForm.MatchString(s.Name):
		return errors.New("name is not letters, digits, dots, dashes and underscores")
	case !uuidForm.MatchString(s.UUID):
		return fmt.Errorf("UUID %q is not 8-4-4-4-12 hexadecimal digits", s.UUID)
	case !nicForm.MatchString(s.Bridge):
		return fmt.Errorf("bridge %q is not an interface name", s.Bridge)
	case s.MemoryMiB < MinMemoryMiB:
		return fmt.Errorf("memory of %d MiB is too little, give it %d or more", s.MemoryMiB, MinMemoryMiB)
	case s.Game && s.MemoryMiB < GameMemoryMiB:
		return fmt.Errorf("memory of %d MiB is too little for a game server, give it %d or more", s.MemoryMiB,
			GameMemoryMiB)
	case s.Database && (s.Disk == "" || s.Ledger):
		return errors.New("a database needs a disk that nothing else is on")
	case s.Database && s.MemoryMiB < DatabaseMemoryMiB:
		return fmt.Errorf("memory of %d MiB is too little for a database, give it %d or more", s.MemoryMiB,
			DatabaseMemoryMiB)
	case (s.DirtyMiB > 0) != (s.DirtySetMiB > 0):
		return errors.New("a rate of rewriting and what is rewritten go together")
	case s.NoisePercent > 100:
		return fmt.Errorf("noise of %d per cent is more than all", s.NoisePercent)
	case s.MemoryMiB-MinMemoryMiB < s.DirtySetMiB:
		return fmt.Errorf("memory of %d MiB is too little to rewrite %d MiB of it, give it %d or more", s.MemoryMiB,
			s.DirtySetMiB, MinMemoryMiB+s.DirtySetMiB)
	case s.VCPUs < 1 || s.VCPUs > 16:
		return fmt.Errorf("number of processors %d is not 1 to 16", s.VCPUs)
	case s.Ledger && s.Disk == "":
		return errors.New("a ledger needs a disk")
	case strings.HasPrefix(s.Disk, "nbd:") && !nbdForm.MatchString(s.Disk):
		return fmt.Errorf("disk %q is not like nbd://HOST:PORT/EXPORT", s.Disk)
	case s.Disk != "" && !strings.HasPrefix(s.Disk, "nbd:") && !pathForm.MatchString(s.Disk):
		return fmt.Errorf("disk %q is not an absolute path", s.Disk)
	case !pathForm.MatchString(s.Kernel):
		return fmt.Errorf("kernel %q is not an absolute path", s.Kernel)
	case !pathForm.MatchString(s.Initrd):
		return fmt.Errorf("initrd %q is not an absolute path", s.Initrd)
	}
	p, err := platformOf(s.Type)
	if err == nil && s.Disk != "" && p.disk == "" {
		err = fmt.Errorf("a guest of type %q has no disk here", s.Type)
	}
	if s.Game && s.Type == "xen" {
		err = errors.Join(err, errors.New("a guest of type xen has no game server here: its nodes lack the program"))
	}
	return errors.Join(err, s.checkAddresses())
}

func (s DomainSpec) checkAddresses() error {
	mac, err := net.ParseMAC(s.MAC)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return fmt.Errorf("MAC %q is not a unicast Ethernet address", s.MAC)
	}
	p, err := netip.ParsePrefix(s.IP)
	if err != nil || !p.Addr().Is4() {
		return fmt.Errorf("IP %q is not like 10.77.0.101/24", s.IP)
	}
	if s.Gateway == "" {
		return nil
	}
	if gw, err := netip.ParseAddr(s.Gateway); err != nil || !p.Contains(gw) {
		return fmt.Errorf("gateway %q is not an address in %s", s.Gateway, p.Masked())
	}
	return nil
}

// CommandLine returns the kernel command line of the guest, see lab/guest/init.
// Of a type that is none there is only what is this guest's own.
func (s DomainSpec) CommandLine() string {
	p, _ := platformOf(s.Type)
	words := append(slices.Clone(p.words), "vmferry.name="+s.Name, "vmferry.ip="+s.IP)
	if s.Gateway != "" {
		words = append(words, "vmferry.gw="+s.Gateway)
	}
	switch {
	case s.Database:
		words = append(words, "vmferry.database="+p.disk)
	case s.Disk != "":
		words = append(words, "vmferry.disk="+p.disk)
	}
	if s.Ledger {
		words = append(words, "vmferry.ledger="+p.disk)
	}
	if s.DirtyMiB > 0 {
		words = append(words, fmt.Sprintf("vmferry.dirty=%d", s.DirtyMiB),
			fmt.Sprintf("vmferry.dirtyset=%d", s.DirtySetMiB))
	}
	if s.NoisePercent > 0 {
		words = append(words, fmt.Sprintf("vmferry.noise=%d", s.NoisePercent))
	}
	if s.Game {
		words = append(words, "vmferry.game=1")
	}
	return strings.Join(words, " ")
}
