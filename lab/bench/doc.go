// Package bench measures vmferry against its peers: the agent and its moves against VirtualDomain on the lab's
// nodes, the pause against QEMU alone, the probe against irtt,
// fping and sockperf (package accuracy).
//
// A [Bench] is one measurement by name; [Benches] lists them, and a new one is a new entry
// there. What it gives is one or more [Result], each with both sides' [Summary]. A [Report] is
// all of them, as build/bench/report.json and as a table.
//
// # How calls are measured
//
// The two sides are called in turn on the same guest with the same environment, and who goes
// first changes with each round, so that what happens on the machine meanwhile happens to
// both. The calls are made by [Caller], a process inside the node. It takes each call's CPU
// time, user and system, from wait4(2): the process itself and all that it has waited
// for. It is a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER), so that what a call leaves
// behind is waited for and counted too. What the daemons spend on a call, vmferryd and
// libvirt's, is a result of its own: no cost is hidden by moving it.
//
// # How moves are measured
//
// One guest goes to and fro between the nodes, in turns too, and over two rounds each side moves it
// once in each direction. A move is Pacemaker's three calls of the agent: migrate_to, migrate_from and
// stop. vmferryd is stopped on both nodes while the peer has its turn. The pause is from QEMU's STOP at the source
// to RESUME at the target, by QEMU's own clock, which all nodes share. A first move of each side is not counted
// where guests are idle. How moves ended is counted, and only those that ended live are in a figure.
//
// # How deep is measured
//
// What a client waits for is made by the network and the hypervisor, by the guest's kernel, and by the program that
// answers it. Each move is therefore measured at three depths, as package blackout defines the longest silence:
//
//	kernel         kernel-gap-icmp, kernel-gap-tcp    ICMP echo; TCP's acknowledgements (TCP_INFO)
//	light service  idle-blackout-*, request-gap-tcp   a reflector that costs the emulator little; its longest wait
//	                                                  for a client that asks again only when it was answered
//	real service   game-gap-udp                       a game server, as its own client asks it
//
// client-gap-* is the light service's gap less the emulator's own part. That part is measured in the same run, in
// turns with the moves: the gap less the pause of a guest that nobody moves, after loadvm made QEMU throw its
// translations away, on the node that ours moves to in that round. Both gaps are by the same rule: one begins when an
// answer was due, which is half an interval after the STOP on average. The notes have what was subtracted; nothing
// is subtracted anywhere else. loaded-blackout-* is measured beside a busy loop on each node.
//
// The clients probe every 25 ms while one guest moves. probe-share is what that costs of all processors, and
// probe-halved by how much the medians differ at half that rate, in intervals.
//
// own-work is the processor time from STOP to a second after RESUME of all that is vmferry's on both nodes, and what
// libvirt's daemons spend more than in the peer's moves. It is read every 5 ms: of vmferryd and of the agents from
// their cgroups, of libvirt's daemons from their process clocks, as QEMU shares their cgroup. The
// instants in between are interpolated. The notes have the raw parts, and what reading costs. The guest leaves alone,
// so vmferry lets it run for that second before it verifies the move; in a drain of several guests it does not wait
// (Rest of package migrate), and the same work falls into the second.
//
// drain-10 has Pacemaker's own defaults: it limits its calls by the load average, and the lab's nodes are never out
// of load, so that both agents' guests leave one after the other. drain-10-at-once has all ten requested at the
// same time, as on a server with processors to spare. migration-limit is Pacemaker's default, unlimited, in both.
//
// floor-pause has a guest of the same kind moved between two QEMUs on one node by this process, over QMP. It is
// the least that QEMU can do. emulator-part is what comes after RESUME because the lab's guests are emulated:
// loadvm makes QEMU throw its translations away, and the guest needs them again before it answers.
//
// # How crashes are measured
//
// crash-to-answer kills the node that has a guest, by the power switch, as scenario crash does. It ends with the first
// answer of the guest elsewhere, over UDP and ICMP. The token, the consensus and the fence device are the same for both
// sides. Each part of the time comes from whoever sees it end: corosync's and Pacemaker's messages in the survivor's
// journal, the power switch, the observer of QEMU's processes, QEMU's events, and the probe. Most of it belongs to
// neither agent: the notes tell what does. In crash-to-answer-advised ours has the consensus that vmferry check advises
// to a cluster of two nodes, and the peer has corosync's default; the peer's guests would gain as much by it.
//
// # How the guard is measured
//
// guard-crash-to-start, guard-crash-to-answer and guard-split-silence make cuts of the partition matrix (package
// partition) on two nodes without a power switch: one node is killed, or the link between them is cut. The times are from
// corosync's and Pacemaker's messages in the survivor's journal, the guard's own records of both nodes, and the probe.
// The peer is the lab's power switch with the delay of SBD: it cuts the power at once, and answers 10 s after the call.
// Agent, guests and nodes are the same. All turns of one side come before those of the other, as the cluster's fence
// device changes in between.
//
// # How the mirror is measured
//
// The mirror's benches have guests on disks of each node's own, under Pacemaker. mirror-round orders a round after the
// guest has changed a few MiB, in turns with a script that makes one by virsh, vol-upload and qemu-img commit for another
// guest of the kind. mirror-round-cpu is of all programs on both nodes, less what they took in as much time before. In
// mirror-stall-fsync and mirror-stall-gap the other side is the same guest, with as much to send and no round.
// mirror-drain moves a guest by Pacemaker's calls, in turns with one of the same size whose disks are copied. mirror-loss
// crashes the node with the guest again and again; a client knows what was acknowledged, the promoted guest what it has,
// and the agent's log what was said to be lost at most.
package bench
