package preflight

import (
	"context"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
)

const guestDoc = endpointtest.GuestXML

const bridgeCard = `<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br77'/></interface>`

// pair is a pair, and the request to migrate its guest.
type pair struct {
	*endpointtest.Pair
	req  Request
	deps Deps
}

func newPair(t *testing.T) *pair {
	t.Helper()
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	return &pair{
		Pair: endpointtest.NewPair(),
		req: Request{Guest: "web", SourceURI: endpointtest.SourceURI, Target: "node2", TargetURI: endpointtest.TargetURI,
			All: true},
		deps: Deps{Log: log, Resolve: endpointtest.Resolve, Own: endpointtest.Own,
			Lock: func(context.Context, string) error { return nil }},
	}
}

// run is the pre-flight.
func (p *pair) run(t *testing.T) (Findings, error) {
	t.Helper()
	p.deps.Source = &endpoint.Endpoint{URI: p.req.SourceURI, Open: p.Open}
	p.deps.Target = &endpoint.Endpoint{URI: p.req.TargetURI, Open: p.Open}
	return Run(t.Context(), p.req, p.deps)
}
