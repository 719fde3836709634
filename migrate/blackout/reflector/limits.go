package reflector

import (
	"cmp"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// The defaults of Limits' fields.
const (
	DefaultClients               = 4096
	DefaultClientsPerAddress     = 256
	DefaultRate                  = 200_000
	DefaultConnections           = 1024
	DefaultConnectionsPerAddress = 64
)

const (
	maxClients = 1 << 20
	maxRate    = 10_000_000
	// challengeRate is how many cookies a reflector gives out in a second, to
	// addresses that may not have requested one, and how many of theirs it checks: a
	// flood of strangers costs no more.
	challengeRate = 20_000
	// challengeSlack is how much of that may be used at once: all targets of a watch
	// ask for their cookies at once.
	challengeSlack = wire.MaxTargets * time.Second / challengeRate
	// paceSlack is how much of the rate of a session may be used at once.
	paceSlack = 100 * time.Millisecond
	// firstProbe is how long a TCP connection may take up to its first whole probe.
	firstProbe = 30 * time.Second
	// sessionsPerConnection is how many sessions one TCP connection may have; watch
	// uses one.
	sessionsPerConnection = 4
)

// Limits are what a reflector does for its clients at most. An address is an IPv4
// address, or the /64 of an IPv6 address.
//
// Where a limit is reached, a newcomer takes the place of a client that sent nothing
// yet, the oldest first, else of the one that has been silent for longest. A client
// that has been sending for some time keeps its place for ten times as long after its
// newest probe, up to ten minutes, or two where the newcomer is of its own address and
// that has no more places; the newcomer is turned away when all are like that.
type Limits struct {
	// Clients is how many sessions it remembers, ClientsPerAddress how many of one
	// address.
	Clients, ClientsPerAddress int
	// Rate is how many probes of one session it answers in a second.
	Rate int
	// Connections is how many TCP connections it keeps, ConnectionsPerAddress how
	// many of one address. One is closed that brings no probe for half a minute after
	// it was opened, or probes of more than four sessions.
	Connections, ConnectionsPerAddress int
}

// Validate reports the first field that is out of its range.
func (l Limits) Validate() error {
	l = l.withDefaults()
	for _, v := range []struct {
		value, most int
		form        string
	}{
		{l.Clients, maxClients, "limit of %d clients"},
		{l.ClientsPerAddress, maxClients, "limit of %d clients of one address"},
		{l.Rate, maxRate, "rate of %d probes a second"},
		{l.Connections, maxClients, "limit of %d connections"},
		{l.ConnectionsPerAddress, maxClients, "limit of %d connections of one address"},
	} {
		if v.value < 1 || v.value > v.most {
			return fmt.Errorf(v.form+" is not between 1 and %d", v.value, v.most)
		}
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	l.Clients = cmp.Or(l.Clients, DefaultClients)
	l.ClientsPerAddress = cmp.Or(l.ClientsPerAddress, DefaultClientsPerAddress)
	l.Rate = cmp.Or(l.Rate, DefaultRate)
	l.Connections = cmp.Or(l.Connections, DefaultConnections)
	l.ConnectionsPerAddress = cmp.Or(l.ConnectionsPerAddress, DefaultConnectionsPerAddress)
	return l
}
