// Package script is vmferry's agent as a resource script of Heartbeat's, /etc/ha.d/resource.d/vmferry: start, stop and
// status of one guest. It knows nothing of guests itself: each verb is one or a few actions of the resource agent.
//
// decide is the whole rule, a pure function from what is known to the next step. [Script] carries out the steps, and
// keeps two things on disk: a lock for each guest, and a note that a stop was begun and is not proven (note.go).
//
// A stop moves the guest to another node while one is up:
//
//	monitor ─► ask for peers ─► migrate_to, to one after the other ─► done
//	   │             │                      │
//	   │             │                      ├─► all others died: the standby is void, the guest stays
//	   └─────────────┴──────────────────────┴─► stop
//
// Heartbeat then starts it on the other node, where it is found running. Where both nodes go down at once, the other
// one has often left already and is called active for the deadtime still; a guest that was moved there would die with
// it. So a node that goes down itself waits until it can know.
package script
