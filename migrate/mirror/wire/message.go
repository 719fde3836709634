package wire

import (
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/plaintext"
)

const (
	MaxPayload     = 4 << 20 // the most bytes that a Data has, or has the sum of
	MaxDifferences = 100     // the most that a Done names
)

type (
	// Hello is the source's first message. The answer is State.
	Hello struct {
		Schema      int // mirror.Schema
		Guest, UUID string
		Node        string // the source, as the cluster manager names it
		Epoch       uint64 // of the source's truth; 0 asks for the State alone, and changes nothing
	}
	// State is the replica's manifest, nil where it has none.
	State struct{ Manifest *mirror.Manifest }
	// Round begins a round. The answer is Ready.
	Round struct {
		Next  mirror.Point
		Disks []mirror.Disk // all of the guest's: the replica forgets others
		Parts []Part        // the disks that are due
		Bytes uint64        // about how much room the data will take at the replica
	}
	// Part is what a round sends of a disk.
	Part struct {
		Disk int // its place in Round.Disks
		Full bool
		Base mirror.Point // of a part that is not full: the replica's last round of that disk
	}
	// Ready says that the replica has noted its time, and has what the data will be written to.
	Ready struct{}
	// Data is a piece of a disk at the instant of the round: its payload, or zeroes, or, to verify the replica, the
	// SHA-256 of what has to be there without being sent.
	Data struct {
		Disk           int // its place in Round.Disks
		Offset, Length uint64
		Zero           bool   `json:",omitempty"`
		Sum            []byte `json:",omitempty"` // of Length, MaxPayload at most
		Payload        []byte `json:"-"`          // of Length, where there is no Zero and no Sum
	}
	// Commit ends a round's data, with the SHA-256 of each of its parts in their order ([Data.AddTo]). The answer is Done.
	Commit struct {
		Sums   [][]byte
		States []mirror.State // all of the guest's, read after the instant of the round
	}
	// Close says that the guest has ended, and has written nothing since that point. The answer is Done.
	Close struct{ Point mirror.Point }
	// Take wants the replica, which has that point, to become what a guest that moves there finds: the disks, each with an
	// empty overlay. Base is the point that what it writes is told since. The answer is Done.
	Take struct{ Point, Base mirror.Point }
	// Done says that the replica has that point, durably, and where sums in the data differed: the first of the pieces.
	Done struct {
		Point       mirror.Point
		Differences []Data
	}
	// Refused ends the stream, and says why in a clause. It is an error, too.
	Refused struct{ Why string }
)

// Error implements error. The other node's text may go to a terminal.
func (r Refused) Error() string { return plaintext.Line(r.Why) }
