// Package ledger is a guest's list of consecutive numbers on the guest's own disk. A guest acknowledges a number only
// when its record is on the disk, and a client in the lab remembers what was acknowledged: no fault of a node may lose
// one of these numbers, and none may ever be written by two copies of the guest.
//
// The records are blocks of a ring that begins at [Start] on the disk, after the area of package disk. Each has the
// number, the generation (how many boots of the guest wrote here before, plus one), the boot id of the kernel that
// wrote it, and a checksum. The place of a number in the ring follows from the number, so a boot finds by one scan
// where the ledger ends, and a second writer leaves its boot id in the middle of the other's records.
//
// [Ledger] writes the ring and [Serve] is its service, for the guest; what else keeps such a list is a [Book]. [Client] sends numbers all the time, and
// [Check] compares what was acknowledged with what is there, for the lab. The protocol is lines of text:
//
//	guest:  ledger BOOTID GENERATION LAST
//	client: put NUMBER        guest: ok NUMBER, or no REASON
//	client: all FIRST         guest: rec NUMBER GENERATION BOOTID for each record from FIRST on, then end DAMAGED
//	client: fill MIB          guest: ok MIB when noise is on the disk there, after the ring, or no REASON
//
// The guest's half is small and uses no fmt: it runs on an emulated processor.
package ledger
