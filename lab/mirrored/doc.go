// Package mirrored is what nodes have that share no disk, and mirror the guests' disks to each other: a folder of their
// own for these, which outlasts a crash and a reboot of the node, sshd with a key of root's that lets each node in to the
// other, and vmferry-mirror's unit. The cluster fences them with the lab's power switch, as it does others.
package mirrored
