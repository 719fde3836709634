// Package accuracy tries the probe on outages that it makes itself, so that their
// length and direction are known, and measures what the probe costs and what the
// reflector withstands. A benchmark calls [Run] with one of the names of [All]; it
// needs root, for network namespaces of its own, and disturbs nothing outside them.
//
//	namespace of the client              namespace of the server
//	┌─────────────────────────┐          ┌────────────────────────────┐
//	│                         │  lane 0  │ blackout serve, irtt server│
//	│ blackout watch          ├──────────┤                            │
//	│ irtt client (each lane) │  lane 1  │ blackout serve, irtt server│
//	│ fping                   ├──────────┤                            │
//	│                         │   ...    │ ...                        │
//	└─────────────────────────┘          └────────────────────────────┘
//
// Every lane is a link of its own with servers of its own, so that outages are made on
// many of them at a time: a hundred of ten seconds take three minutes. Four kinds are
// made. For "link" the server's end is set down, so that the client's has lost its
// carrier. For "out" nf_tables drop what comes in at the server's end, for "back" what
// comes in at the client's. For "stop" the servers of the lane are stopped with SIGSTOP:
// what was sent waits. The instants before and after each of these calls bound the true
// length.
//
// A server that the machine does not run, just as its outage ends, is out for longer: the
// scheduler says how long it waited for a processor, and stall monitors on every processor
// when none of them ran. All of these doubts are added to what is allowed.
//
// An outage of 5 ms is shorter than what a busy machine may keep any process from
// running. That is why the probe states its error for each outage, and why what
// is judged is |reported − true| over the allowed error: 1 is the limit.
package accuracy
