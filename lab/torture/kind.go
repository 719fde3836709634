package torture

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what a fault does to a node.
type Kind string

// The kinds. Those that begin with "cut" or are named by their way of failing end after a time, and the node is whole
// again.
const (
	Crash          Kind = "crash"            // a power cut; the node boots again
	Hang           Kind = "hang"             // no process runs for a while; then all go on
	CutLink        Kind = "cut-link"         // the cluster's messages to and from this node: guests can still be moved
	CutNetwork     Kind = "cut-network"      // all between this node and the others
	CutGateway     Kind = "cut-gateway"      // this node reaches no address of the ping list
	CutStorage     Kind = "cut-storage"      // this node reaches neither the disks nor the lease
	CutLinkGateway Kind = "cut-link-gateway" // two of them
	CutLinkStorage Kind = "cut-link-storage" // two of them
	OneWay         Kind = "one-way"          // this node hears nothing of the others
	Flapping       Kind = "flapping"         // the link goes down and up
	KillPacemakerd Kind = "kill-pacemakerd"  // by signal 9, as all that follow
	KillCorosync   Kind = "kill-corosync"    // Pacemaker ends with it
	KillLibvirt    Kind = "kill-libvirt"     // libvirtd, or virtqemud
	KillVmferryd   Kind = "kill-vmferryd"    // systemd starts it again
	KillGuard      Kind = "kill-guard"       // the guard, not its second process
	KillSecond     Kind = "kill-second"      // the second process, not the guard
	KillPair       Kind = "kill-guard-pair"  // both at once
	KillAgent      Kind = "kill-agent"       // in the middle of a move
	FullDisk       Kind = "full-disk"        // the node's own disk
	ClockStep      Kind = "clock-step"       // of the node's wall clock
	Reboot         Kind = "reboot"           // as an operator does it
	Move           Kind = "move"             // the manager moves a guest
)

// outage is how long guests may be silent after a fault.
type outage int

const (
	moved     outage = iota // as long as a live move takes: no guest is restarted
	restarted               // the manager finds a guest in an unknown state, stops and starts it
	crashed                 // the node fails: [timing.Bounds].Crash
	split                   // the nodes part: [timing.Bounds].Split
	either                  // one of both: the lease may lie with the disks, or elsewhere
	untilHeal               // until the fault is over, and then as after a crash
)

// trait is what a kind is like.
type trait struct {
	kind        Kind
	least, most time.Duration // how long it lasts; 0 for one that is done at once
	outage      outage
	ends        bool // the node's processes end, those outside the cluster's care too
}

// traits are all kinds, in the order in which they are listed.
var traits = []trait{
	{Crash, 0, 0, crashed, true},
	{Hang, time.Second, time.Minute, crashed, false},
	{CutLink, 500 * time.Millisecond, 40 * time.Second, split, false},
	{CutNetwork, 500 * time.Millisecond, 40 * time.Second, split, false},
	{CutGateway, time.Second, 30 * time.Second, moved, false},
	{CutStorage, 500 * time.Millisecond, 20 * time.Second, untilHeal, false},
	{CutLinkGateway, time.Second, 40 * time.Second, split, false},
	{CutLinkStorage, time.Second, 40 * time.Second, either, false},
	{OneWay, 500 * time.Millisecond, 40 * time.Second, split, false},
	{Flapping, 5 * time.Second, 30 * time.Second, split, false},
	{KillPacemakerd, 0, 0, split, false},
	{KillCorosync, 0, 0, split, false},
	{KillLibvirt, 0, 0, moved, false},
	{KillVmferryd, 0, 0, moved, false},
	{KillGuard, 0, 0, moved, false},
	{KillSecond, 0, 0, moved, false},
	{KillPair, 0, 0, moved, false},
	{KillAgent, 0, 0, restarted, false},
	{FullDisk, 5 * time.Second, 30 * time.Second, moved, false},
	{ClockStep, 5 * time.Second, 30 * time.Second, moved, false},
	{Reboot, 0, 0, moved, true},
	{Move, 0, 0, moved, false},
}

// Kinds are all kinds of faults.
func Kinds() []Kind {
	var all []Kind
	for _, t := range traits {
		all = append(all, t.kind)
	}
	return all
}

// ParseKinds reads a list such as "crash,hang"; "" is all kinds.
func ParseKinds(list string) ([]Kind, error) {
	if list == "" {
		return Kinds(), nil
	}
	var some []Kind
	for word := range strings.SplitSeq(list, ",") {
		if !slices.Contains(Kinds(), Kind(word)) {
			return nil, fmt.Errorf("there is no fault %q: use %s", word, strings.Join(words(Kinds()), ", "))
		}
		some = append(some, Kind(word))
	}
	return some, nil
}

func words(kinds []Kind) []string {
	var all []string
	for _, k := range kinds {
		all = append(all, string(k))
	}
	return all
}

// trait is what the kind is like.
func (k Kind) trait() trait {
	return traits[slices.IndexFunc(traits, func(t trait) bool { return t.kind == k })]
}
