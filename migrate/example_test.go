package migrate_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/endpoint/endpointtest"
	"github.com/vmferry/vmferry/migrate/slot"
)

// A guest is moved between two ends that stand in for libvirt; with the real one, Open is client.Opener's. The record
// says where the guest runs, and what was measured.
func ExampleMove() {
	slots, err := os.MkdirTemp("", "vmferry-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(slots)
	pair := endpointtest.NewPair()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rec, err := migrate.Move(ctx, migrate.Request{
		Guest: "web", SourceURI: pair.Source.URI, Target: "node2", TargetURI: pair.Target.URI,
		BlackoutBudget: 250 * time.Millisecond,
	}, migrate.Deps{
		Open: pair.Open, Slots: slot.Pool{Dir: slots}, Resolve: endpointtest.Resolve, Own: endpointtest.Own,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s to %s by %s: %s at the source, %s at the target\n",
		rec.Outcome, rec.To, rec.Rung, rec.Verified.Source, rec.Verified.Target)
	fmt.Println("the pause was known and within the budget:", rec.PauseMS != nil && *rec.PauseMS < rec.BudgetMS)
	// Output:
	// moved to node2 by live: absent at the source, running (migrated) at the target
	// the pause was known and within the budget: true
}

// The pre-flight alone says everything that is in the way, and changes nothing.
func ExampleExamine() {
	slots, err := os.MkdirTemp("", "vmferry-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(slots)
	pair := endpointtest.NewPair()
	pair.Target.Free = 1 << 20
	x, err := migrate.Examine(context.Background(), migrate.Request{
		Guest: "web", SourceURI: pair.Source.URI, Target: "node2", TargetURI: pair.Target.URI, Memory: "refuse",
	}, migrate.Deps{
		Open: pair.Open, Slots: slot.Pool{Dir: slots}, Resolve: endpointtest.Resolve,
		Own: endpointtest.Own,
	})
	for _, r := range x.Refusals {
		fmt.Println(r.Check, "-", r.Reason)
	}
	fmt.Println(err)
	// Output:
	// memory - the target has 1 MiB free, and the guest needs 512 MiB
	// <nil>
}
