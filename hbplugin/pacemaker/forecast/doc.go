// Package forecast says what becomes of each guest of a node when the node goes into standby, by the word of
// Pacemaker's own scheduler.
//
// [Verdicts] is a pure function of the CIB and of what crm_simulate made of it. What happens to a guest is read off
// the simulation alone: where the guest runs before and after, and by which operations it got there. The
// configuration only serves to explain it: where the scheduler says "node availability", the constraint, the
// fail-count or the capacity that rules out each other node is looked up.
package forecast
