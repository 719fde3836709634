package reflector

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// BenchmarkReflect is what the reflector does between its system calls: for a
// client that it knows, and for one that it does not.
func BenchmarkReflect(b *testing.B) {
	r := New(quiet(), Limits{Rate: maxRate})
	good := r.handshake.keys.cookie(r.handshake.keys.epoch, alice, 1)
	for name, probe := range map[string][]byte{
		"known":   encoded(wire.Packet{Kind: wire.Probe, Session: 1, Seq: 1, Instance: good[0], Count: good[1]}),
		"unknown": probeBytes(2, 1),
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, wire.PacketSize)
			b.ReportAllocs()
			for i := range b.N {
				copy(buf, probe)
				r.datagram(buf, alice, time.Duration(i)*time.Microsecond)
			}
		})
	}
}
