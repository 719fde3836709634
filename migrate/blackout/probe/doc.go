// Package probe sends probes and receives answers. [Open] opens a [Run]: the
// sockets of all its targets on one loop, which [Run.Send] runs.
//
//	run.go        which prober each target gets, and what it measured
//	loop.go       slots by an absolute timer, answers by epoll, on one thread
//	datagram.go   many targets on one socket, in batches
//	tcp.go        one target over TCP connections that replace each other
//	stream.go     one of them, and what the kernel knows of it
//	exchange.go   one target by what Go's own network code does
//	target.go     what all probers have for each target, and its address
//	clock.go      instants, and what kernel time stamps are worth
//
// A packet of the first two probers costs no allocation. Linux only: timerfd,
// epoll and SO_TIMESTAMPNS.
package probe
