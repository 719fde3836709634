package reflector

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// Reflector answers probes. The zero value is not usable; see New.
// ServeUDP may be called once, ServeTCP concurrently with it and repeatedly;
// UDP and TCP share its counters.
//
// Over UDP it answers only clients that have shown that they receive what is
// sent to their address: the first probe is answered with a cookie, of the same
// size, that must be in every later one, and that is replaced from time to
// time. It never sends more than it received, keeps nothing for a client before
// that, and bounds what it keeps and does afterwards by its Limits. It does not
// answer what was sent to a broadcast or multicast address.
type Reflector struct {
	log         logrus.FieldLogger
	instance    uint64
	gap         time.Duration // between two probes of a session at the highest rate
	started     time.Time
	full, ended logLimiter

	mu          sync.Mutex // guards what follows
	sessions    *sessions
	connections *places
	handshake   handshake
}

// New returns a reflector with a fresh random instance, no sessions, and limits
// that Validate takes; zero ones are the defaults. A service that restarts is
// thereby seen as another instance, and one that migrates as the same.
func New(log logrus.FieldLogger, l Limits) *Reflector {
	l = l.withDefaults()
	return &Reflector{
		log: log, instance: wire.RandomID(), gap: time.Second / time.Duration(l.Rate), started: time.Now(),
		sessions:    newSessions(l.Clients, l.ClientsPerAddress),
		connections: newPlaces(l.Connections, l.ConnectionsPerAddress),
		full:        logLimiter{every: time.Minute}, ended: logLimiter{every: time.Second},
		handshake: handshake{keys: newCookieKeys(keyLife)},
	}
}

// The flags of "blackout serve" that bound places.
const (
	limitClients     = "--max-clients"
	limitConnections = "--max-connections"
)

// refuse notes that there is no place for a client. limit names the flag that bounds
// such places; that of one address begins with it.
func (r *Reflector) refuse(now time.Duration, limit string) {
	if n, ok := r.full.more(now); ok {
		r.log.WithField("refused", n).Warnf("a new client is not answered: "+
			"all places of its address, or all places, are in use; raise %s-per-address or %s", limit, limit)
	}
}
