// Package reflector answers probes where a service runs. [Serve] listens and
// answers; a [Reflector] does so on sockets that are there already, and keeps
// its count of a client's probes when the machine that it runs on is migrated.
//
//	serve.go        sockets, privileges
//	reflector.go    datagrams: what one call received, one call answers
//	hello.go        cookies: who is answered, who is challenged
//	connections.go  streams: the same over TCP
//	sessions.go     what is known of a client
//	places.go       who makes room when there is none
//
// Anyone may send to it: what it spends on strangers is bounded by [Limits].
package reflector
