// Package outage is the arithmetic: from when probes were sent and answers
// arrived, a [Tracker] finds the outages of one target, which way probes were
// lost, and how long round trips took. It opens no socket and reads no clock: an
// instant is a duration since the run began. What a blackout is, and how large
// its error, is in package blackout.
package outage
