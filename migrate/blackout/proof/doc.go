// Package proof tries the probe on outages that it makes itself, so that their
// length and direction are known, and measures what the probe costs. A benchmark
// calls [Run] with one of [Names]; it needs root, for network namespaces of its
// own, and disturbs nothing outside them.
//
//	   namespace of the client             namespace of the server
//	┌──────────────────────────┐      ┌──────────────────────────────┐
//	│ Watch, and the peers     │ veth │ reflector of this process     │ out, back
//	│ beside it                ├──────┤ `blackout serve`, a child     │ stop
//	└──────────────────────────┘      │ the peers' servers            │
//	                                  └──────────────────────────────┘
//
// Three kinds of outage are made. For "out" the reflector's socket gets a packet
// filter that drops everything: what was sent is lost on the way out. For "back"
// the server's namespace takes a wrong hardware address for the client's: what was
// answered is lost on the way back. For "stop" the child is stopped with SIGSTOP:
// what was sent waits. The instants before and after each of these calls bound the
// true length. A server that the machine does not run, just as its outage ends,
// is out for longer: canaries on every processor tell when they were not run. Both
// doubts are added to what is allowed.
//
// An outage of 5 ms is shorter than what a busy machine may keep any process from
// running. That is why the probe states its error for each outage, and why what
// is judged is |reported − true| over the allowed error: 1 is the limit.
package proof
