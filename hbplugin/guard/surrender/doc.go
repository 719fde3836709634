// Package surrender ends the guests of a node and proves that nothing of them can write any more: their processes have
// ended, and those that libvirt has started beside them (virtiofsd, swtpm, nbdkit), none of their TCP sockets is left,
// and libvirt has begun nothing that could bring one.
//
// A process that was killed can leave a socket with its last request in the kernel, which sends it for minutes: once
// the link to the storage heals, it overwrites what the guest's next copy has written. So the sockets are destroyed
// (sock_diag(7), SOCK_DESTROY) and looked for again. They are kept in a file on tmpfs for the guard that follows one
// which was killed before it could do so. What a guest has handed over a Unix socket to a process that libvirt has not
// started (vhost-user), and what the kernel itself queues for a disk (iSCSI, NFS), is not seen here: a process that waits
// for such a disk does not end, and there is no proof then.
package surrender
