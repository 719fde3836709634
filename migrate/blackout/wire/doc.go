// Package wire is what a probe and its answer look like on the wire: our own
// [Packet], which a reflector answers, and what each [Mode] makes of it for
// services that know nothing of us. [Window] distinguishes duplicates from new packets.
//
// # The handshake over UDP
//
//	watch                                  reflector
//	  | Probe, cookie of zeros        ───►  |
//	  |  ◄───  Challenge, cookie of the     |  keeps nothing of the client
//	  |        address and the session      |
//	  | the same Probe, with the cookie ──► |
//	  |  ◄───  Answer, instance and count   |
//	  | next Probe, with the cookie   ───►  |
//
// Every packet has the same size, so that a reflector never sends more than it
// received. A cookie expires; then one probe is challenged again. Over TCP
// there are no cookies: a connection proves as much. The client's half is in
// probe/target.go, the reflector's in reflector/handshake.go.
//
// Nothing here opens a socket or reads a clock.
package wire
