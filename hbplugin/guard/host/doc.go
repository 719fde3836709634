// Package host is what the guard does on its node: which processes are guests of the cluster, how the cluster manager
// is restarted after a surrender, how a node's access to the disks is revoked, and the hardware watchdog.
package host
