package route

import (
	"context"
	"sync"

	"github.com/sirupsen/logrus"
)

// Table is the ways to nodes that an action has looked up: each node's address is looked up once. It may be used by
// several goroutines.
type Table struct {
	config  Config
	address func(ctx context.Context, node string) (string, error)
	log     logrus.FieldLogger

	mu    sync.Mutex
	known map[string]Route
}

// NewTable makes an empty table; address looks up a node's address, see [Config.Address].
func NewTable(c Config, address func(ctx context.Context, node string) (string, error), log logrus.FieldLogger) *Table {
	return &Table{config: c, address: address, log: log, known: make(map[string]Route)}
}

// To is the way to a node. Where the node has no address, its name is used.
func (t *Table) To(ctx context.Context, node string) (Route, error) {
	t.mu.Lock()
	r, ok := t.known[node]
	t.mu.Unlock()
	if ok {
		return r, nil
	}
	address, err := t.address(ctx, node)
	switch {
	case err != nil:
		t.log.WithError(err).Warnf("node %s has no address to reach it by: using its name", node)
	case address != "":
		t.log.Infof("node %s has the address %s", node, address)
	}
	if r, err = t.config.To(node, address); err != nil {
		return Route{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[node] = r
	return r, nil
}
