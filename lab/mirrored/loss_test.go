package mirrored

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest/ledger"
)

func TestLost(t *testing.T) {
	const a, b = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	acked := []ledger.Ack{{Number: 1, BootID: a}, {Number: 2, BootID: a}, {Number: 3, BootID: a}}
	for _, c := range []struct {
		name         string
		records      []ledger.Record
		lost, double int
	}{
		{"all there", []ledger.Record{{Number: 1, Generation: 1, BootID: a}, {Number: 2, Generation: 1, BootID: a},
			{Number: 3, Generation: 1, BootID: a}, {Number: 4, Generation: 2, BootID: b}}, 0, 0},
		{"the end is lost, and written again", []ledger.Record{{Number: 1, Generation: 1, BootID: a},
			{Number: 2, Generation: 2, BootID: b}}, 2, 0},
		{"a gap", []ledger.Record{{Number: 1, Generation: 1, BootID: a}, {Number: 3, Generation: 1, BootID: a}}, 1, 2},
		{"two boots in turn", []ledger.Record{{Number: 1, Generation: 1, BootID: a}, {Number: 2, Generation: 2, BootID: b},
			{Number: 3, Generation: 1, BootID: a}}, 1, 2},
		{"an empty disk", nil, 3, 0},
	} {
		lost, double := Lost(acked, ledger.Scan{Records: c.records})
		if len(lost) != c.lost || len(double) != c.double {
			t.Errorf("%s: lost %v, double %q", c.name, lost, double)
		}
	}
}

func TestSaidLoss(t *testing.T) {
	for log, want := range map[string]time.Duration{
		"started from the replica: lost at most 12 s\n":          12 * time.Second,
		"lost at most 1s\nx\nlost at most 12.5s: see the report": 12500 * time.Millisecond,
		"lost at most 1m2s":      62 * time.Second,
		"lost at most 1 min 2 s": 62 * time.Second,
	} {
		if got, err := SaidLoss(log); err != nil || got != want {
			t.Errorf("%q: %v, %v", log, got, err)
		}
	}
	if got, err := SaidLoss("nothing was lost\n"); err == nil {
		t.Errorf("got %v", got)
	}
}
