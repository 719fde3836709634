package mirrored

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/guest/ledger"
)

// Lost are the acknowledged numbers that the boot which acknowledged them has not in a ledger. A replica is of one instant:
// torn says what cannot be in one, which are gaps, and boots that wrote in turn.
func Lost(acked []ledger.Ack, s ledger.Scan) (lost []ledger.Ack, torn []string) {
	has := map[uint64]string{}
	for i, r := range s.Records {
		has[r.Number] = r.BootID
		if i > 0 && r.Number != s.Records[i-1].Number+1 {
			torn = append(torn, fmt.Sprintf("number %d follows %d", r.Number, s.Records[i-1].Number))
		}
	}
	for _, a := range acked {
		switch {
		case a.Number+ledger.Capacity <= s.Last(): // the ring has gone on
		case has[a.Number] != a.BootID:
			lost = append(lost, a)
		case len(lost) > 0:
			torn = append(torn, fmt.Sprintf("number %d is there, and %d before it is lost", a.Number, lost[0].Number))
		}
	}
	return lost, append(torn, ledger.Check(nil, s).Double...)
}

var saidLoss = regexp.MustCompile(`lost at most ((?:[0-9.]+ ?(?:ms|s|min|m|h) ?)+)`)

// SaidLoss reads how much was lost at most, in the last line of the agent's log that says so.
func SaidLoss(log string) (time.Duration, error) {
	all := saidLoss.FindAllStringSubmatch(log, -1)
	if len(all) == 0 {
		return 0, fmt.Errorf("no line of %d bytes says what was lost", len(log))
	}
	return time.ParseDuration(strings.NewReplacer(" ", "", "min", "m").Replace(all[len(all)-1][1]))
}
