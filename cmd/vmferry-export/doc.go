// Command vmferry-export runs on a storage machine: it exports disks to the nodes of a cluster over NBD, with a process
// for each node, and ends a node's process when another node proves that it has to lose its access. It needs neither
// libvirt nor a cluster manager.
package main
