package migrate

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
	"github.com/vmferry/vmferry/migrate/slot"
)

type fake = endpointtest.Fake

const (
	guestUUID = endpointtest.UUID
	sourceURI = endpointtest.SourceURI
	targetURI = endpointtest.TargetURI
	guestDoc  = endpointtest.GuestXML
)

var (
	runs    = endpointtest.Runs
	stopped = endpointtest.Stopped
)

// pair is a pair, and the request to move its guest.
type pair struct {
	*endpointtest.Pair
	deps    Deps
	req     Request
	shorten chan time.Time
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{Pair: endpointtest.NewPair()}
	p.req = Request{Guest: "web", SourceURI: sourceURI, Target: "node2", TargetURI: targetURI}
	p.deps = Deps{Slots: slot.Pool{Dir: t.TempDir()}, Open: p.Open, Resolve: endpointtest.Resolve, Own: endpointtest.Own}
	return p
}
