// Clockset is process 1 of a virtual machine in which the wall clock is set while the
// probe runs: on no machine that others use may a test do that. It starts blackout serve
// and blackout watch from the machine's initramfs, stops the reflector for a while, sets
// the clock by an hour in the midst of it and back by two after it, and writes the report
// to the console between the lines begin and end. Then the machine is switched off.
package main
