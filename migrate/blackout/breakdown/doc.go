// Package breakdown lays the events of a migration under what a probe measured,
// and splits the blackout of each target into its parts.
//
//	              STOP        completed  RESUME      announce   first answer
//	---------------+--------------+---------+------------+-----------+-------
//	   |<- before ->|<--------- pause ------>|<------- relearn ------>|
//	                |             |<-------->|           |<- unheard ->|
//	                |             | hand-over|           |            |
//	   |<------------------------ blackout -------------------------->|
//
// The pause is from the source's STOP to the destination's RESUME; the hand-over
// is the part of it after QEMU's "completed"; relearn is the rest, in which the
// network learns where the guest is and the guest finds its feet. Before is what
// clients missed before the source stopped. The three add up to the blackout.
//
// [ReadEvents] reads the events, [Split] does the arithmetic. The clocks of the
// machines that recorded the events must agree with that of the prober; an offset
// that is known is taken off.
package breakdown
