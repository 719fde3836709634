// Package mirrord is the daemon that mirrors the disks of this node's guests to another node at an interval: when a
// round is made and of what, what an operator and the agent may ask for meanwhile, and what is told of it.
//
// Start with [Daemon]. The agent's notes say which guests are here ([Guests]), package migrate/mirror/source makes a
// round, and [Ask] talks to the daemon from another program.
//
//	turn.go    when a guest's next round is due, and of which disks; it does nothing itself
//	daemon.go  makes the rounds that are due, and logs
//	answer.go  what is asked at the control socket
//	peer.go    the guest's other node, and the stream to it over ssh
package mirrord
