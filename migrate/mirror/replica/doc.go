// Package replica keeps the copy of a guest's disks on the node where the guest does not run: [Engine.Serve] receives
// rounds, and [Engine.Promote] makes the copy the truth. What a source sends is checked as a stranger's, although ssh has
// authenticated it: a node that was taken over gets no more of this one than the disks that it mirrors.
package replica
