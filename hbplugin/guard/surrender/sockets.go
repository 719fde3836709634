package surrender

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// socket is one TCP socket of the kernel's. The cookie names it for as long as the machine runs.
type socket struct {
	family  uint8
	id      netlink.SocketID
	queued  uint32 // bytes that are not acknowledged yet
	inode   uint32 // 0 where no process has it any more
	process int    // whose it was
	missed  int    // lists in a row that did not have it
}

type cookie [2]uint32

// listening is TCP_LISTEN of the kernel's net/tcp_states.h.
const listening = 10

// sockets are all TCP sockets of this network namespace that can have data. The list is nil only with an error. One
// that listens has none, and may be systemd's: to destroy that of libvirt's daemon ends its socket unit, and nobody can
// migrate a guest to this node any more.
func sockets() ([]socket, error) {
	all := []socket{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := netlink.SocketDiagTCP(family)
		if errors.Is(err, netlink.ErrDumpInterrupted) { // the table changed meanwhile: once more
			found, err = netlink.SocketDiagTCP(family)
		}
		if err != nil {
			return nil, fmt.Errorf("list the TCP sockets: %w", err)
		}
		for _, s := range found {
			if s.State == listening {
				continue
			}
			all = append(all, socket{family: family, id: s.ID, queued: s.WQueue, inode: s.INode})
		}
	}
	return all, nil
}

// inodes are those of the sockets that a process has open. A process that has ended has none.
func inodes(proc string, pid int) (map[uint32]bool, error) {
	dir, err := os.Open(fmt.Sprintf("%s/%d/fd", proc, pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, err
	}
	found := map[uint32]bool{}
	for _, name := range names {
		link, err := os.Readlink(dir.Name() + "/" + name)
		if err != nil {
			continue // closed meanwhile
		}
		if n, ok := socketInode(link); ok {
			found[n] = true
		}
	}
	return found, nil
}

// socketInode is the inode in what proc(5) shows of an open socket, "socket:[4711]".
func socketInode(link string) (uint32, bool) {
	text, ok := strings.CutPrefix(link, "socket:[")
	if !ok || !strings.HasSuffix(text, "]") {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(n), err == nil && n != 0
}

// destroyRequest is struct inet_diag_req_v2 of linux/inet_diag.h. The library's own request is for IPv4 alone, and for
// whatever socket has the addresses.
type destroyRequest socket

// Len implements nl.NetlinkRequestData.
func (r destroyRequest) Len() int { return 56 }

// Serialize implements nl.NetlinkRequestData.
func (r destroyRequest) Serialize() []byte {
	b := make([]byte, 0, r.Len())
	b = append(b, r.family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // whatever its state
	b = binary.BigEndian.AppendUint16(b, r.id.SourcePort)
	b = binary.BigEndian.AppendUint16(b, r.id.DestinationPort)
	b = append(b, address(r.family, r.id.Source)...)
	b = append(b, address(r.family, r.id.Destination)...)
	b = binary.NativeEndian.AppendUint32(b, r.id.Interface)
	b = binary.NativeEndian.AppendUint32(b, r.id.Cookie[0])
	return binary.NativeEndian.AppendUint32(b, r.id.Cookie[1])
}

// address is ip in the 16 bytes that the kernel has for it.
func address(family uint8, ip []byte) []byte {
	b := make([]byte, 16)
	if family == unix.AF_INET && len(ip) == 16 {
		ip = ip[12:]
	}
	copy(b, ip)
	return b
}

// CanDestroy is the error of a kernel that cannot destroy sockets, or of a process that may not.
func CanDestroy() error {
	return destroy(socket{family: unix.AF_INET, id: netlink.SocketID{Cookie: cookie{1, 1<<31 - 1}}}) // there is none
}

// destroy ends a socket at once: what it has queued is never sent. One that is gone already is no error.
func destroy(s socket) error {
	request := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	request.AddData(destroyRequest(s))
	_, err := request.Execute(unix.NETLINK_INET_DIAG, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return errors.New("this kernel cannot destroy sockets (CONFIG_INET_DIAG_DESTROY)")
	}
	return fmt.Errorf("destroy the socket %s:%d to %s:%d of process %d: %w", s.id.Source, s.id.SourcePort,
		s.id.Destination,
		s.id.DestinationPort, s.process, err)
}
