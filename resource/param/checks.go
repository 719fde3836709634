package param

import (
	"time"
)

// Checks are questions to a guest's services that a monitor asks.
type Checks struct {
	TCP     []string      // check_tcp: HOST:PORT that must accept a connection
	UDP     []string      // check_udp: HOST:PORT that must answer a datagram
	Agent   bool          // check_agent: the QEMU guest agent must answer
	Timeout time.Duration // check_timeout: of each
	Grace   time.Duration // check_grace: how long a guest is not checked after its start or its arrival
}

// Any reports whether a check is set.
func (c Checks) Any() bool { return len(c.TCP) > 0 || len(c.UDP) > 0 || c.Agent }

func readChecks(r *reader) Checks {
	return Checks{
		TCP: r.hostPorts("check_tcp"), UDP: r.hostPorts("check_udp"), Agent: r.boolean("check_agent"),
		Timeout: r.secondsFrom("check_timeout", time.Second), Grace: r.secondsFrom("check_grace", 0),
	}
}
