// Blackout measures for how long a service does not answer, and in which
// direction its packets are lost. `blackout serve` answers probes where the
// service runs; `blackout watch` sends them where the clients are, and reports;
// show, compare and join work on reports.
//
// The measuring is in package migrate/blackout and its sub-packages; here are the
// flags, the exit codes and what goes where. The program is static, needs neither
// root nor a hypervisor, and is documented in blackout(1).
package main
