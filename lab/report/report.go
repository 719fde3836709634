package report

import "time"

// Schema is the version of report.json that this package writes and reads.
const Schema = 1

// The names that a report's fixed fields take. Others are shown as they are.
const (
	// GracefulShutdown is the scenario in which a node is shut down by command.
	GracefulShutdown = "graceful-shutdown"
	// Crash is the scenario in which a node dies without a word.
	Crash = "crash"

	// SplitBrain is the scenario in which the link between two nodes without a power switch is cut.
	SplitBrain = "split-brain"
	// Hang is the scenario in which such a node stops for some time and goes on.
	Hang = "hang"

	// Ours is the agent that is being judged.
	Ours = "vmferry"
	// Peer is the agent that it is compared with on QEMU. Elsewhere it is another
	// one: whoever is not Ours.
	Peer = "VirtualDomain"

	// Live is the way of a guest that kept running: a live migration.
	Live = "live"
	// Cold is the way of a guest that booted again on the other node.
	Cold = "cold"
)

// Report is the whole result of one demo.
type Report struct {
	// Schema is 1. WriteJSON sets it.
	Schema int `json:"schema"`
	// Commit is the revision of vmferry that was measured.
	Commit string `json:"commit"`
	// Environment is what the demo ran on.
	Environment Environment `json:"environment"`
	// Scenarios are in the order in which they ran.
	Scenarios []Scenario `json:"scenarios"`
	// Baselines are outages in which neither an agent nor a cluster had a part,
	// on the same nodes: what the hypervisor, and the emulation below it, make of
	// a pause all alone.
	Baselines []Baseline `json:"baselines,omitempty"`
	// Mirror is what became of a guest's copies; nil where nothing was mirrored.
	Mirror *Mirror `json:"mirror,omitempty"`
}

// The names of baselines.
const (
	// SuspendResume is a guest that is paused and continues at once.
	SuspendResume = "suspend-resume"
	// SaveRestore is a guest that is saved to a file and restored on the same node.
	SaveRestore = "save-restore"
)

// Baseline is one outage of one guest that nobody moved.
type Baseline struct {
	// Name is SuspendResume or SaveRestore.
	Name       string `json:"name"`
	Hypervisor string `json:"hypervisor"`
	Guest      string `json:"guest"`
	Node       string `json:"node"`
	// PauseMS is from when the guest stopped executing until it continued, in
	// milliseconds, as the hypervisor reported it; nil where that was not seen.
	PauseMS *float64 `json:"pause_ms"`
	// Kernel, UDP and TCP are what clients saw, as in Guest.
	Kernel *Kernel `json:"kernel,omitempty"`
	UDP    *UDP    `json:"udp"`
	TCP    *TCP    `json:"tcp"`
}

// Rest is what of the UDP blackout was not the pause, in milliseconds; nil where
// either is not known.
func (b Baseline) Rest() *float64 {
	if b.UDP == nil || b.PauseMS == nil {
		return nil
	}
	rest := b.UDP.BlackoutMS - *b.PauseMS
	return &rest
}

// Environment is what a demo ran on. Versions are as the programs print them;
// an empty one was not requested.
type Environment struct {
	Libvirt   string `json:"libvirt"`
	QEMU      string `json:"qemu"`
	Xen       string `json:"xen,omitempty"`
	Pacemaker string `json:"pacemaker"`
	Heartbeat string `json:"heartbeat"`
	Corosync  string `json:"corosync"`
	Kernel    string `json:"kernel"`
	// Cores is the number of processors that all nodes and guests shared.
	Cores int `json:"cores"`
	// Accel is "kvm", or "tcg" when the guests were emulated.
	Accel string `json:"accel"`
	// Started and Finished enclose the whole run, the boot of the nodes included.
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// Scenario is one scenario run with one agent on one cluster manager.
type Scenario struct {
	// Name is GracefulShutdown, Crash, SplitBrain, Hang, MirrorCrash, MirrorReturn or MirrorDrain.
	Name string `json:"name"`
	// Agent is Ours or the peer's name.
	Agent string `json:"agent"`
	// Manager is the cluster manager, "pacemaker" or "heartbeat".
	Manager string `json:"manager"`
	// Hypervisor is "qemu" or "xen".
	Hypervisor string `json:"hypervisor"`
	// Passed reports whether every guest ended where and how it should have.
	Passed bool `json:"passed"`
	// Failures says why a scenario did not pass, one sentence each.
	Failures []string `json:"failures,omitempty"`
	// DrainS is the time in seconds from the trigger until no guest was left on
	// the node; nil where nothing was drained, as in a crash.
	DrainS *float64 `json:"drain_s"`
	// MaxRunningCopies is the largest number of nodes on which one guest was
	// executing at the same instant. More than 1 is a corrupted disk.
	MaxRunningCopies int `json:"max_running_copies"`
	// Trigger is the instant of the shutdown command or of the kill: 0 s on the
	// plots. Zero means the first event.
	Trigger time.Time `json:"trigger,omitzero"`
	// Guests are the virtual machines that were on the node.
	Guests []Guest `json:"guests"`
	// Ledger is what a client of the guest's ledger saw; nil where there was none.
	Ledger *Ledger `json:"ledger,omitempty"`
	// Events are the turning points as the lab saw them, in any order.
	Events []Event `json:"events,omitempty"`
}

// Event is one turning point of a scenario.
type Event struct {
	// At is on the lab's own clock, which all nodes share.
	At time.Time `json:"at"`
	// Node is where it happened; empty for the lab itself.
	Node string `json:"node"`
	// What is a short phrase: it is a label on the plot.
	What string `json:"what"`
}

// Guest is what became of one virtual machine.
type Guest struct {
	// Guest is the name of the domain.
	Guest string `json:"guest"`
	// From and To are the nodes before and after. To is empty when the guest
	// was found nowhere.
	From string `json:"from"`
	To   string `json:"to"`
	// How is Live or Cold.
	How string `json:"how"`
	// BootIDKept reports whether the guest's kernel is still the same boot.
	BootIDKept bool `json:"boot_id_kept"`
	// Boots is how often the guest booted during the scenario: 0 for a live
	// migration, 1 for a cold start, nil when it was not counted.
	Boots *int `json:"boots,omitempty"`
	// CounterBefore and CounterAfter are readings of the counter that the guest
	// keeps on its disk, before the trigger and at the end.
	CounterBefore *uint64 `json:"counter_before,omitempty"`
	CounterAfter  *uint64 `json:"counter_after,omitempty"`
	// CounterWentBack reports that the counter was once read smaller than
	// before: the disk lost what had been written, or two copies wrote it.
	CounterWentBack bool `json:"counter_went_back"`
	// PauseMS is source STOP to destination RESUME in milliseconds, as the
	// hypervisor reported them; nil for a cold start.
	PauseMS *float64 `json:"pause_ms"`
	// Kernel is how long the guest's kernel was silent: what the network and the hypervisor decide. UDP and TCP are
	// what clients of its service saw. All are nil when no probe was watching.
	Kernel *Kernel `json:"kernel,omitempty"`
	UDP    *UDP    `json:"udp"`
	TCP    *TCP    `json:"tcp"`
}

// Kernel is the longest time in which the guest's kernel, and not a program in it, gave no answer.
type Kernel struct {
	// ICMPMS is that of echo replies, in milliseconds, from At on; ErrorMS and Open are as in UDP.
	ICMPMS  float64   `json:"icmp_ms"`
	ErrorMS float64   `json:"error_ms"`
	At      time.Time `json:"at,omitzero"`
	Open    bool      `json:"open,omitempty"`
	// TCPMS is that of TCP's acknowledgements; nil where none was seen.
	TCPMS *float64 `json:"tcp_ms,omitempty"`
}

// UDP is what a client saw that sent small datagrams at a steady pace.
type UDP struct {
	// BlackoutMS is the longest time without an answer, in milliseconds.
	BlackoutMS float64 `json:"blackout_ms"`
	// BlackoutAt is when that time began; zero when it is to be found in Series.
	BlackoutAt time.Time `json:"blackout_at,omitzero"`
	// Open reports that no answer had come when the watch ended, which makes
	// BlackoutMS a lower bound.
	Open bool `json:"open,omitempty"`
	// Sent is the number of datagrams that the client sent.
	Sent uint64 `json:"sent"`
	// LostOut never reached the guest; LostBack reached it and the answer was
	// lost on the way back.
	LostOut  uint64 `json:"lost_out"`
	LostBack uint64 `json:"lost_back"`
	// ErrorMS is how far BlackoutMS may be off in either direction: the
	// sending interval and the probe's own timer error.
	ErrorMS float64 `json:"error_ms"`
	// Series is every answer over time, for the page.
	Series *Series `json:"-"`
}

// TCP is what a client saw that asked and was answered over one connection.
type TCP struct {
	// BlackoutMS, BlackoutAt and Open are as in UDP.
	BlackoutMS float64   `json:"blackout_ms"`
	BlackoutAt time.Time `json:"blackout_at,omitzero"`
	Open       bool      `json:"open,omitempty"`
	// Resets is how often the connection was lost and had to be made again.
	Resets uint64 `json:"resets"`
	// ErrorMS is as in UDP.
	ErrorMS float64 `json:"error_ms"`
	// Series is every answer over time, for the page.
	Series *Series `json:"-"`
}

// Series is a probe's answers over time, in buckets of equal length. The three
// slices have one element for each bucket; a shorter one counts as zero from
// there on. It has the shape of "series" in the probe's own report.
type Series struct {
	// Start is the beginning of the first bucket.
	Start time.Time `json:"start"`
	// BucketMS is the length of a bucket in milliseconds.
	BucketMS float64 `json:"bucket_ms"`
	// Sent is the number of probes, by the time they were sent; Answered is the
	// number of answers, by the time they arrived.
	Sent     []uint32 `json:"sent"`
	Answered []uint32 `json:"answered"`
	// RTTMaxUS is the longest round trip in microseconds, 0 where none ended.
	RTTMaxUS []uint32 `json:"rtt_max_us"`
}

// trigger is 0 s of the scenario: the trigger, or else its first event, or
// else the start of the earliest series.
func (s *Scenario) trigger() time.Time {
	if !s.Trigger.IsZero() {
		return s.Trigger
	}
	var first time.Time
	earlier := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	for _, e := range s.Events {
		earlier(e.At)
	}
	if !first.IsZero() {
		return first
	}
	for _, l := range s.lanes() {
		earlier(l.series.Start)
	}
	return first
}
