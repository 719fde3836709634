package guardd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// UDP is the link over UDP. Its addresses are those of the nodes by their numbers.
type UDP struct {
	socket *net.UDPConn
	others map[int]netip.AddrPort
}

// NewUDP listens at the own address.
func NewUDP(own netip.AddrPort, others map[int]netip.AddrPort) (*UDP, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(own))
	if err != nil {
		return nil, fmt.Errorf("listen for the other nodes' renewals: %w", err)
	}
	return &UDP{socket, others}, nil
}

// Send implements Link.
func (u *UDP) Send(to int, datagram []byte) error {
	_, err := u.socket.WriteToUDPAddrPort(datagram, u.others[to])
	return err
}

// Receive implements Link.
func (u *UDP) Receive(ctx context.Context, buffer []byte) (int, error) {
	stop := context.AfterFunc(ctx, func() { _ = u.socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	n, _, err := u.socket.ReadFromUDPAddrPort(buffer)
	return n, err
}

// Close ends the link.
func (u *UDP) Close() error { return u.socket.Close() }
