package ring

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Detection is how long Corosync takes until it takes a silent node for lost, see corosync.conf(5), section totem.
type Detection struct {
	Token     time.Duration // without a token, until the membership is formed again
	Consensus time.Duration // then, until it is formed without those that do not answer
	Join      time.Duration // between the messages by which it is formed
	Nodes     int           // in the configuration
}

// errNoDetection says that what was read is no answer of a Corosync that runs.
var errNoDetection = errors.New("corosync-cmapctl names no runtime.config.totem.token and .consensus")

// ParseDetection reads what corosync-cmapctl(8) prints without a key: what Corosync goes by, defaults included.
func ParseDetection(text string) (Detection, error) {
	var d Detection
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, "=")
		key, _, _ = strings.Cut(key, " ")
		if strings.HasPrefix(key, "nodelist.node.") && strings.HasSuffix(key, ".nodeid") {
			d.Nodes++
			continue
		}
		to := map[string]*time.Duration{
			"runtime.config.totem.token":     &d.Token,
			"runtime.config.totem.consensus": &d.Consensus,
			"runtime.config.totem.join":      &d.Join,
		}[key]
		if to == nil {
			continue
		}
		ms, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		if err != nil {
			return Detection{}, errNoDetection
		}
		*to = time.Duration(ms) * time.Millisecond
	}
	if d.Token == 0 || d.Consensus == 0 {
		return Detection{}, errNoDetection
	}
	return d, nil
}

// After is how long a node must be silent to be taken for lost. One that stalls for less is not fenced.
func (d Detection) After() time.Duration { return d.Token + d.Consensus }

// Bounds of what ShortConsensus advises.
const (
	leastConsensus = 200 * time.Millisecond
	mostConsensus  = 2 * time.Second
)

// ShortConsensus is a consensus that shortens After. Corosync's default, 1.2 times the token, is for three nodes and
// more, which must agree on who is lost. Of two nodes the survivor has nobody to agree with, and
// corosync.conf(5) calls any consensus between join and token safe. A fifth of the token is what cman set by itself for
// two nodes. It is false where there are more nodes, or the consensus is short already.
func (d Detection) ShortConsensus() (time.Duration, bool) {
	short := max(min(max(d.Token/5, leastConsensus), mostConsensus), 2*d.Join)
	return short, d.Nodes == 2 && d.Consensus >= d.Token && short < d.Token
}
