package lease

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// maxNames is how many bytes the names of the cluster and its nodes may have, one more for each: what is left of a
// sector beside the kind, the version, the identity, the times, how many nodes there are, and the checksum.
const maxNames = sector - len(kind{}) - 4 - 16 - 7*8 - 8 - 1 - 4

// nodeName is what a node may be called: its name is an argument of programs.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

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
	room := maxNames
	for i, name := range append([]string{h.Cluster}, h.Nodes...) {
		room -= 1 + len(name)
		switch {
		case name == "":
			return errors.New("a name is empty: the cluster and each node need one")
		case len(name) > math.MaxUint8 || room < 0:
			return fmt.Errorf("with %q the names are too long for the lease device: use shorter ones", name)
		case i > 0 && !nodeName.MatchString(name):
			return fmt.Errorf("the name %q is not one of a node: use letters, digits, '.', '_' and '-'", name)
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
