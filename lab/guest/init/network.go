package main

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const nic = "eth0"

// cardTime bounds how long the card may take to appear after its driver was
// loaded: Xen's comes when the other domain has set up its half.
const cardTime = 30 * time.Second

// awaitCard waits until the card's folder in sysfs is there.
func awaitCard(folder string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(folder); err == nil {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("no network card came: " + folder + " is not there")
		}
	}
}

// configureNetwork gives lo and eth0 their addresses and brings them up, and
// sets the default route if there is one.
func configureNetwork(cfg config) error {
	if err := awaitCard("/sys/class/net/"+nic, cardTime); err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return errors.New("configure network: " + err.Error())
	}
	defer syscall.Close(fd)
	if err := setUp(fd, "lo"); err != nil {
		return err
	}
	if err := setInet(fd, syscall.SIOCSIFADDR, "address", cfg.addr.Addr()); err != nil {
		return err
	}
	if err := setInet(fd, syscall.SIOCSIFNETMASK, "netmask", netmask(cfg.addr.Bits())); err != nil {
		return err
	}
	if err := setUp(fd, nic); err != nil {
		return err
	}
	if cfg.gateway.IsValid() {
		return setGateway(fd, cfg.gateway)
	}
	return nil
}

func setInet(fd int, request uint, what string, value netip.Addr) error {
	req, err := unix.NewIfreq(nic)
	if err == nil {
		err = req.SetInet4Addr(value.AsSlice())
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, request, req)
	}
	if err != nil {
		return errors.New("set " + what + " " + value.String() + " of " + nic + ": " + err.Error())
	}
	return nil
}

func setUp(fd int, name string) error {
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, syscall.SIOCGIFFLAGS, req)
	}
	if err == nil {
		req.SetUint16(req.Uint16() | syscall.IFF_UP)
		err = unix.IoctlIfreq(fd, syscall.SIOCSIFFLAGS, req)
	}
	if err != nil {
		return errors.New("bring up " + name + ": " + err.Error())
	}
	return nil
}

// rtentry is struct rtentry of <linux/route.h> on a 64-bit machine.
type rtentry struct {
	_                     uint64
	dst, gateway, genmask syscall.RawSockaddrInet4
	flags                 uint16
	_                     [6]byte
	_                     [7]uint64
}

func setGateway(fd int, gateway netip.Addr) error {
	r := rtentry{flags: syscall.RTF_UP | syscall.RTF_GATEWAY}
	r.dst.Family, r.gateway.Family, r.genmask.Family = syscall.AF_INET, syscall.AF_INET, syscall.AF_INET
	r.gateway.Addr = gateway.As4()
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCADDRT, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errors.New("set gateway " + gateway.String() + ": " + errno.Error())
	}
	return nil
}

func netmask(bits int) netip.Addr {
	mask := ^uint32(0) << (32 - bits)
	return netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)})
}
