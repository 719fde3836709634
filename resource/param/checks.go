package param

import (
	"time"

	"github.com/vmferry/vmferry/resource/ocf"
)

// Checks are questions to a guest's services that a monitor asks.
type Checks struct {
	TCP     []string      // check_tcp: HOST:PORT that must accept a connection
	UDP     []string      // check_udp: HOST:PORT that must answer a datagram
	Agent   bool          // check_agent: the QEMU guest agent must answer
	Timeout time.Duration // check_timeout: of each
	Grace   time.Duration // check_grace: how long a guest is left alone that was started or arrived
}

// Any tells whether there is something to ask.
func (c Checks) Any() bool { return len(c.TCP) > 0 || len(c.UDP) > 0 || c.Agent }

func (r *reader) checks() Checks {
	return Checks{
		TCP: r.hostPorts("check_tcp"), UDP: r.hostPorts("check_udp"), Agent: r.boolean("check_agent", false),
		Timeout: r.seconds("check_timeout", defaultCheckTimeout, time.Second),
		Grace:   r.seconds("check_grace", defaultCheckGrace, 0),
	}
}

// seconds is byDefault where the parameter is unset, or cannot be used.
func (r *reader) seconds(name string, byDefault, least time.Duration) time.Duration {
	if r.get(name) == "" {
		return byDefault
	}
	before := len(r.problems)
	d := time.Duration(min(r.number(name, "seconds"), uint64(ocf.MaxTimeout.Seconds()))) * time.Second
	switch {
	case len(r.problems) > before:
		return byDefault
	case d < least:
		r.bad(name, "%s=%q is too short: give whole seconds from %v on", name, r.get(name), least.Seconds())
		return byDefault
	}
	return d
}

// The values of check_timeout and check_grace that are not given.
const (
	defaultCheckTimeout = 5 * time.Second
	defaultCheckGrace   = 60 * time.Second
)
