// Vmferry is the operator's command: is this node fit to be emptied, which guests
// are on it, move one, empty the node, and how did it go. It is documented in
// vmferry(8).
//
// Each command is one file. What it asks of the machine (libvirt, the cluster
// manager's programs, systemd, the process table) goes through machine, which the
// tests replace; what the guests are is put together in inventory.go. Sub-package
// pcmk reads Pacemaker's documents, and report makes tables and pages of records.
//
// Results go to stdout, prose and progress to stderr.
package main
