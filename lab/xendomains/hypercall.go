package xendomains

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From Xen 4.20's public headers: xen.h, sysctl.h and domctl.h. The version
// belongs to the layout of what is asked and answered.
const (
	hypervisorSysctl = 35   // __HYPERVISOR_sysctl
	sysctlVersion    = 0x15 // XEN_SYSCTL_INTERFACE_VERSION
	getDomainInfo    = 6    // XEN_SYSCTL_getdomaininfolist

	flagDying    = 1 << 0
	flagShutdown = 1 << 2
	flagPaused   = 1 << 3
	reasonShift  = 16 // XEN_DOMINF_shutdownshift
	suspended    = 2  // SHUTDOWN_suspend
)

// struct xen_sysctl: the words that this one question fills in.
const (
	sysctlFirst  = 8  // u16, the first domain requested
	sysctlMax    = 12 // u32
	sysctlBuffer = 16 // u64, address
	sysctlCount  = 24 // u32, answer
)

// struct xen_domctl_getdomaininfo.
const (
	infoFlags  = 4
	infoHandle = 76
	infoSize   = 112
)

// hypercall is IOCTL_PRIVCMD_HYPERCALL, _IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall)).
const hypercall = 0x305000

// hypervisor is a way to ask the hypervisor. It is not safe for concurrent use.
type hypervisor struct {
	call   *os.File
	buffer []byte // shared with the hypervisor: the question in front, the answer infoAt bytes behind
}

// The kernel's /dev/xen/hypercall gives memory that stays where it is while the
// hypervisor uses it.
const (
	infoAt     = 256
	bufferSize = 4 * 4096
)

// openHypervisor opens dom0's way to its hypervisor. The error says what is
// missing on a machine that is no dom0.
func openHypervisor() (*hypervisor, error) {
	call, err := os.OpenFile("/dev/xen/privcmd", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("reach the hypervisor: %w", err)
	}
	memory, err := os.OpenFile("/dev/xen/hypercall", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("get memory for the hypervisor: %w", err), call.Close())
	}
	defer memory.Close()
	buffer, err := unix.Mmap(int(memory.Fd()), 0, bufferSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("get memory for the hypervisor: %w", err), call.Close())
	}
	return &hypervisor{call: call, buffer: buffer}, nil
}

// domains asks for all domains but dom0.
func (h *hypervisor) domains() ([]Domain, error) {
	address := uint64(uintptr(unsafe.Pointer(&h.buffer[0])))
	question(h.buffer, address+infoAt)
	arguments := [6]uint64{hypervisorSysctl, address}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, h.call.Fd(), hypercall, uintptr(unsafe.Pointer(&arguments)))
	if errno == unix.EACCES {
		return nil, fmt.Errorf("ask the hypervisor for its domains: %w: it is not Xen 4.20, or this is not dom0", errno)
	}
	if errno != 0 {
		return nil, fmt.Errorf("ask the hypervisor for its domains: %w", errno)
	}
	count := int(binary.NativeEndian.Uint32(h.buffer[sysctlCount:]))
	return answer(h.buffer[infoAt:], count)
}

// question writes struct xen_sysctl for all domains from 1 on, with the answer
// at an address.
func question(buffer []byte, address uint64) {
	clear(buffer[:infoAt])
	binary.NativeEndian.PutUint32(buffer, getDomainInfo)
	binary.NativeEndian.PutUint32(buffer[4:], sysctlVersion)
	binary.NativeEndian.PutUint16(buffer[sysctlFirst:], 1)
	binary.NativeEndian.PutUint32(buffer[sysctlMax:], maxDomains)
	binary.NativeEndian.PutUint64(buffer[sysctlBuffer:], address)
}

// answer reads count times struct xen_domctl_getdomaininfo.
func answer(infos []byte, count int) ([]Domain, error) {
	if count < 0 || count > maxDomains || count*infoSize > len(infos) {
		return nil, fmt.Errorf("the hypervisor reports %d domains, more than requested", count)
	}
	all := make([]Domain, count)
	for i := range all {
		info := infos[i*infoSize : (i+1)*infoSize]
		all[i] = Domain{
			ID:    int(binary.NativeEndian.Uint16(info)),
			UUID:  uuid(info[infoHandle : infoHandle+16]),
			State: state(binary.NativeEndian.Uint32(info[infoFlags:])),
		}
	}
	return all, nil
}

// uuid writes a domain's handle as toolstacks do: its bytes are in the order of the text.
func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// state reads XEN_DOMINF_ flags. What ended while it was paused has ended.
func state(flags uint32) State {
	switch {
	case flags&flagDying != 0:
		return Dying
	case flags&flagShutdown != 0 && flags>>reasonShift&0xff == suspended:
		return Suspended
	case flags&flagShutdown != 0:
		return Ended
	case flags&flagPaused != 0:
		return Paused
	}
	return Executing
}
