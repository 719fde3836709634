package bench

import (
	"testing"
	"time"
)

const callsJournal = `100.000000 node1 pacemaker-controld[9]:  notice: Initiating migrate_to operation a_migrate_to_0 locally on node1
100.000000 node1 pacemaker-controld[9]:  notice: Requesting local execution of migrate_to operation for a on node1
101.500000 node1 pacemaker-controld[9]:  notice: Requesting local execution of migrate_to operation for b on node1
102.000000 node1 pacemaker-controld[9]:  notice: Result of migrate_to operation for a on node1: OK
103.000000 node1 pacemaker-controld[9]:  notice: Requesting local execution of stop operation for a on node1
103.250000 node1 pacemaker-controld[9]:  notice: Result of stop operation for a on node1: OK
104.000000 node1 pacemaker-controld[9]:  notice: Result of migrate_to operation for b on node1: Error
105.000000 node1 pacemaker-controld[9]:  notice: Result of monitor operation for b on node1: OK
102.125000 node2 pacemaker-controld[9]:  notice: Requesting local execution of migrate_from operation for a on node2
102.625000 node2 pacemaker-controld[9]:  notice: Result of migrate_from operation for a on node2: OK
`

func TestCallsIn(t *testing.T) {
	calls := callsIn(callsJournal)
	if len(calls) != 4 || calls[0].action != "migrate_to" || calls[1].guest != "b" ||
		calls[2].action != "migrate_from" {
		t.Fatalf("%+v", calls)
	}
	if got := leavingsIn(calls).inWords("migrate_to", "migrate_from", "stop", betweenCalls); got !=
		"migrate_to 2.00 s, migrate_from 0.50 s, stop 0.25 s, between the calls 0.50 s" {
		t.Error(got)
	}
	if got := leavingsIn(nil).inWords("migrate_to"); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestStepsIn(t *testing.T) {
	records := `{"guest":"a","started":"2026-01-01T00:00:00Z","steps":[{"name":"migrate","ms":9000}]}
{"guest":"a","started":"2026-01-02T00:00:00Z","steps":[{"name":"pre-flight","ms":250},{"name":"migrate","ms":1500}]}
no record
`
	if got := stepsIn(records, time.Date(2026, 1, 1, 12, 0, 0, 0,
		time.UTC)).inWords(); got != "migrate 1.50 s, pre-flight 0.25 s" {
		t.Error(got)
	}
}
