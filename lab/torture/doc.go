// Package torture breaks the nodes of a lab in random ways, one fault after the other, and checks what the guard
// promises: a guest never has two copies that could write, no number that a guest acknowledged is lost, every guest
// answers again within the time that follows from the configuration, and a process that the cluster does not
// manage is not killed.
//
// [Plan] draws the faults from a seed: the same seed gives the same plan. A [Runner] carries it out on a [World], which
// is the lab (package torture/nodes) or, in tests, a cluster in memory. Clients of package lab/guest/ledger send
// numbers to the guests all the time. After each episode (a fault, or two of which the second hits the recovery from
// the first) the checkers look at what was seen, and say what was wrong as a [Failure]. The [Report] has all failures
// and counts.
//
// A guest has no file system: its ledger is on the bare disk. What a file system check would find, a record that is
// torn or overwritten, the ledger's checksums find; at the end the disks are read once more from the storage's side.
package torture
