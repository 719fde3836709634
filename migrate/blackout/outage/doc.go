// Package outage is the arithmetic: from when probes were sent and answers
// arrived, a [Tracker] finds the outages of one target, which way probes were
// lost, and how long round trips took. It opens no socket and reads no clock: an
// instant is a duration since the run began. What a blackout is, is in package
// blackout.
//
//	tracker.go    what happens to the probes of a target, in order
//	due.go        when the next answer is due
//	bounds.go     how long a silence was, and how exactly that is known
//	outages.go    which silences are listed, and the longest
//	losses.go     which way probes were lost
//	rtt.go        round trips before, during and after the longest outage
//	series.go     the time line
//	sendtimes.go  when the newest probes were sent
//	acks.go       TCP's acknowledgements as answers
//	faults.go     when the prober itself could not measure
//	summary.go    all of it as a report
package outage
