package blackout

import "github.com/vmferry/vmferry/migrate/blackout/wire"

// PacketSize is the size in bytes of a probe, of an answer and of a challenge.
const PacketSize = wire.PacketSize
