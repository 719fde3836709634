package lease

import (
	"fmt"
	"math"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// maxName is the longest name of a cluster or a node that fits, in bytes, with 16 nodes.
const maxName = 20

// Header is what all nodes of a device have in common. "vmferry guard init" writes it, once.
type Header struct {
	Identity [16]byte // random: tells two devices of clusters with one name apart, and keys the link
	Cluster  string
	Times    timing.Times
	Nodes    []string // node 1 is Nodes[0]
}

// ID is the number of a node, 0 where the header does not name it.
func (h Header) ID(node string) int {
	for i, name := range h.Nodes {
		if name == node {
			return i + 1
		}
	}
	return 0
}

// Check is the error of a header that must not be written.
func (h Header) Check() error {
	if len(h.Nodes) < 2 || len(h.Nodes) > MaxNodes {
		return fmt.Errorf("a guard needs 2 to %d nodes, not %d", MaxNodes, len(h.Nodes))
	}
	for i, name := range append([]string{h.Cluster}, h.Nodes...) {
		switch {
		case name == "" || len(name) > maxName:
			return fmt.Errorf("the name %q has %d bytes: use 1 to %d", name, len(name), maxName)
		case i > 0 && h.ID(name) != i:
			return fmt.Errorf("node %q is named twice: name each node once", name)
		}
	}
	return h.Times.Check()
}

// Encode writes h over block, which has BlockSize bytes. It fails where h.Check does.
func (h Header) Encode(block []byte) error {
	if err := h.Check(); err != nil {
		return err
	}
	e := begin(block, headerKind)
	e.bytes(h.Identity[:])
	for _, d := range []time.Duration{h.Times.Renew, h.Times.SelfKill, h.Times.Kill, h.Times.Poll, h.Times.Margin,
		h.Times.Move, h.Times.Revoke} {
		e.u64(uint64(d))
	}
	e.u64(math.Float64bits(h.Times.Drift))
	e.text(h.Cluster)
	e.u8(uint8(len(h.Nodes)))
	for _, name := range h.Nodes {
		e.text(name)
	}
	e.end(block)
	return nil
}

// DecodeHeader is the header in block.
func DecodeHeader(block []byte) (Header, error) {
	d, err := open(block, headerKind)
	if err != nil {
		return Header{}, err
	}
	h := Header{Identity: [16]byte(d.bytes(16))}
	for _, to := range []*time.Duration{&h.Times.Renew, &h.Times.SelfKill, &h.Times.Kill, &h.Times.Poll,
		&h.Times.Margin,
		&h.Times.Move, &h.Times.Revoke} {
		*to = time.Duration(d.u64())
	}
	h.Times.Drift = math.Float64frombits(d.u64())
	h.Cluster = d.text()
	for range d.u8() {
		h.Nodes = append(h.Nodes, d.text())
	}
	if d.bad {
		return Header{}, ErrForeign
	}
	if err := h.Check(); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	return h, nil
}
