// Package reflector answers probes where a service runs. [Serve] listens and
// answers; a [Reflector] does so on sockets that are there already, and keeps
// its count of a client's probes when the machine that it runs on is migrated.
//
//	serve.go      sockets, privileges
//	udp.go        datagrams: what one call received, one call answers
//	tcp.go        streams: the same over TCP
//	handshake.go  who is answered over UDP, and who is challenged
//	cookies.go    the keys of the cookies
//	sessions.go   what is known of a client
//	places.go     who makes room when there is none
//
// # What others can do to it
//
// A reflector serves everybody, within its [Limits]. Each client takes a place: a
// session, or a TCP connection. An address has a quota of them. Where none is left, the
// place goes that yields first:
//
//	sent no probe yet      at once, before all others, the oldest first
//	sent one               at once, the longest idle first
//	has been sending for D 10 D after its newest probe, at most 10 minutes, or 2 for
//	                       another client of its address
//
// and the newcomer is turned away while nobody yields. The count of a session that is
// still sending is therefore never lost to others, however slow it is. A session belongs
// to the address that made it: the same number from another address is another session,
// also where a client changed its address.
//
// A cookie is bound to the address and the session, and to a key that changes every ten
// minutes; the key before is taken too. Meanwhile one probe in a second is answered with
// the next cookie in place of an answer, and comes again with that one: it is counted
// once, and none is lost.
package reflector
