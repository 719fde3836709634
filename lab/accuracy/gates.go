package accuracy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// gates drop what comes in by an interface of one namespace, with nf_tables: each
// is a base chain of the netdev family at an interface's ingress, whose policy is
// to accept or to drop. It says so to the kernel itself: a run of nft(8) takes
// longer than the shortest outages.
//
// (nft add table netdev accuracy; nft add chain netdev accuracy NAME
// '{ type filter hook ingress device NAME priority 0; policy accept; }')
type gates struct {
	mu  sync.Mutex
	fd  int
	seq uint32
}

const gateTable = "accuracy"

// The policies of a chain (linux/netfilter.h).
const (
	drop   = 0
	accept = 1
)

// newGates works on the namespace that this thread is in.
func newGates() (*gates, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	g := &gates{fd: fd}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		g.ask(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, text(unix.NFTA_TABLE_NAME, gateTable)),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("add a table: %w", err), unix.Close(fd))
	}
	return g, nil
}

func (g *gates) close() { _ = unix.Close(g.fd) }

// add puts a gate at an interface; it lets everything through.
func (g *gates) add(name string) error {
	hook := nl.NewRtAttr(unix.NFTA_CHAIN_HOOK|unix.NLA_F_NESTED, nil)
	hook.AddChild(number(unix.NFTA_HOOK_HOOKNUM, unix.NF_NETDEV_INGRESS))
	hook.AddChild(number(unix.NFTA_HOOK_PRIORITY, 0))
	hook.AddChild(text(unix.NFTA_HOOK_DEV, name))
	err := g.ask(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE,
		text(unix.NFTA_CHAIN_TABLE, gateTable), text(unix.NFTA_CHAIN_NAME, name), hook,
		number(unix.NFTA_CHAIN_POLICY, accept), text(unix.NFTA_CHAIN_TYPE, "filter"))
	if err != nil {
		return fmt.Errorf("put a filter at interface %q: %w", name, err)
	}
	return nil
}

// shut makes a gate drop everything, or lets everything through again. It holds
// when this returns.
func (g *gates) shut(name string, on bool) error {
	policy := uint32(accept)
	if on {
		policy = drop
	}
	err := g.ask(unix.NFT_MSG_NEWCHAIN, 0,
		text(unix.NFTA_CHAIN_TABLE, gateTable), text(unix.NFTA_CHAIN_NAME, name),
		number(unix.NFTA_CHAIN_POLICY, policy))
	if err != nil {
		return fmt.Errorf("switch the filter at interface %q: %w", name, err)
	}
	return nil
}

// ask has the kernel carry out one request, in a batch of its own, as nf_tables wants it.
func (g *gates) ask(what uint16, flags uint16, attributes ...*nl.RtAttr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq += 3
	var body []byte
	for _, a := range attributes {
		body = append(body, a.Serialize()...)
	}
	msg := message(unix.NFNL_MSG_BATCH_BEGIN, 0, g.seq-2, unix.AF_UNSPEC, nil)
	msg = append(msg, message(unix.NFNL_SUBSYS_NFTABLES<<8|what, flags|unix.NLM_F_ACK, g.seq-1, unix.NFPROTO_NETDEV,
		body)...)
	msg = append(msg, message(unix.NFNL_MSG_BATCH_END, 0, g.seq, unix.AF_UNSPEC, nil)...)
	if err := unix.Sendto(g.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	return g.verdict()
}

// verdict waits for the first answer that is an error or the acknowledgement: there
// is one of either in any case.
func (g *gates) verdict() error {
	buf := make([]byte, 4096)
	for {
		n, _, err := unix.Recvfrom(g.fd, buf, 0)
		if err != nil {
			return err
		}
		// struct nlmsghdr: length, type, flags, sequence, port; then an errno.
		if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR ||
			binary.NativeEndian.Uint32(buf[8:])+2 < g.seq {
			continue
		}
		if code := int32(binary.NativeEndian.Uint32(buf[unix.NLMSG_HDRLEN:])); code != 0 {
			return unix.Errno(-code)
		}
		return nil
	}
}

// message is a netlink message of nfnetlink: struct nlmsghdr, struct nfgenmsg, and
// attributes.
func message(kind, flags uint16, seq uint32, family byte, body []byte) []byte {
	m := make([]byte, unix.NLMSG_HDRLEN+nl.SizeofNfgenmsg, unix.NLMSG_HDRLEN+nl.SizeofNfgenmsg+len(body))
	binary.NativeEndian.PutUint32(m, uint32(cap(m)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(m[8:], seq)
	m[unix.NLMSG_HDRLEN] = family
	binary.BigEndian.PutUint16(m[unix.NLMSG_HDRLEN+2:], unix.NFNL_SUBSYS_NFTABLES)
	return append(m, body...)
}

func text(kind int, value string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(value)) }

func number(kind int, value uint32) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.BigEndian.AppendUint32(nil, value))
}
