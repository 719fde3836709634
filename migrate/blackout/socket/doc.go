// Package socket is the kernel's side of datagrams and streams: many datagrams in
// one system call ([Batch]), what one recvmsg(2) reads with its time stamp
// ([Message]), and addresses in the kernel's form ([Address]). The standard
// library's equivalents allocate an address for each packet or go through the
// network poller; both cost more than the rest of the work. Linux only.
package socket
