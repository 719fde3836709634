// Package disk keeps a guest's record on the guest's own disk, and reads it
// back from outside.
//
// The record says which boot of the guest wrote last, how many boots there were
// and how far the counter came. It exists to prove two things about a guest
// that was moved or restarted: nothing that was written durably got lost, and
// no second copy of the guest was writing at the same time.
//
// The first two 4096-byte blocks of the disk are slots A and B. A [Journal]
// writes them in turn, so that a write which is torn by a crash leaves the older
// record whole, and before every write it looks whether both slots still hold
// what this boot knows. If they do not, somebody else has the disk open: that is
// counted as a foreign write. Two copies that write in turn cannot both miss
// each other.
//
// [Decode], [Encode] and [Newest] are pure. [Journal] does its I/O through the
// [Device] it is given. [Read] and [Guest] serve the lab, which looks into a raw
// or qcow2 image without starting anything.
package disk
