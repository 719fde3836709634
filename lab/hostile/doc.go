// Package hostile is the neighbour that a node must withstand: a local user without rights, a container, a client of a
// guest. [Main] is its program, the lab's own under another name ([ProgramName]). Each of its parts is one kind of
// attack, which continues until the program is asked to end:
//
//	crowd   processes that look like guests, like their ruins and like a cluster manager
//	bus     forged signals of logind and of the bus itself, unicast to vmferryd
//	litter  what does not belong beside a disk image
//	silent  TCP connections that never say anything
//	tap     a packet capture that looks for known text in memory and disks that pass by
//
// A part tells systemd when it has begun (sd_notify(3), READY=1).
package hostile
