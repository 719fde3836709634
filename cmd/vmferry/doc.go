// Vmferry is the operator's command: is this node fit to be emptied, which guests
// are on it, move one, empty the node, and how did it go. It is documented in
// vmferry(8).
//
// Each command is one file: flags, wiring and printing. What is decided is in packages below hbplugin: inventory,
// check, plan, outcome, and pacemaker for a move through it. What a command asks of the machine (libvirt, the cluster
// manager's programs, systemd, the process table) goes through machine, which the tests replace; sub-package report
// makes tables and pages of records.
//
// Results go to stdout, prose and progress to stderr.
package main
