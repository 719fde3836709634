// Package ladder is what may be done to get a guest off its node: one [Spec] for each rung, from the gentlest to the
// roughest. All others ask a rung for its properties and do not compare names: the planner (package drain), the
// prediction, the migration engine, the agent with its parameter, meta-data and manual, and the commands' tables.
//
// # A new rung
//
// Every rung needs:
//
//   - migrate/ladder/NAME.go with its Spec, as live.go, and a line in [Specs] (ladder.go);
//   - cmd/vmferry-agent/ocf_vmferry_Domain.7: an item in "The ladder", and its name in the list of the parameter ladder;
//   - cmd/vmferry/vmferry.8: its name among the means of a record, in "JSON";
//   - the lists in ladder_test.go, resource/ocf/metadata/testdata/meta-data.golden, and CHANGELOG.md.
//
// A rung that ends the guest also needs:
//
//   - resource/stop.go: a row in decideStop, a method that returns nil when the guest is proven to be gone, and a
//     line in the comment of stop on what it does when libvirtd is dead;
//   - resource/budget.go: the end of its time; the ends of the rows increase strictly;
//   - resource/agent.go: its points in steps, where it calls step;
//   - resource/decide_test.go: TestDecideStop;
//   - resource/observe/hypervisor.go and migrate/libvirt/client, where libvirt does it by a call that has no method yet.
//
// A live rung that uses existing [Techniques] needs no executor: the engine gets the techniques of all rungs of a
// ladder. But a record names the last rung that has the same techniques ([Techniques.Rung]), so two rungs with the same
// techniques cannot be told apart.
//
// A live rung with a new technique also needs:
//
//   - here: the field of Spec and of Techniques, and Spec.techniques (spec.go), Rungs.Techniques and Techniques.Rungs
//     (ladder.go);
//   - resource/param/move.go and migrate/request.go: the request carries it;
//   - migrate/convergence: Policy, State and Decision have it, and decide.go says when it is used; begin.go, where the
//     migration begins with it;
//   - migrate: plan.go (policy and prediction), attempt.go, migration.go (carries out the decision), account.go and
//     move.go (the rung of the record);
//   - migrate/predict: model.go and simulate.go;
//   - migrate/libvirt and migrate/libvirt/client: the flag or call of libvirt;
//   - migrate/drain/arrange.go, where it changes why a guest waits.
//
// Tests fail where a rung that ends the guest has no row in decideStop, where the meta-data or an item of a manual is
// missing, and where another package names a rung. No test fails where the executor of a live rung is missing, where
// two rungs have the same techniques, or where the list of the parameter ladder in ocf_vmferry_Domain(7) lacks a name.
package ladder
