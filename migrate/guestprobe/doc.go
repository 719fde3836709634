// Package guestprobe watches the services of one guest while it moves, so that the record of
// the move says what clients saw of it.
//
// [Begin] starts to probe, [Probe.End] ends it and gives the blackouts:
//
//	Begin ── the guest moves ── End ── wait ── blackouts
//
// A probe never fails a move: what goes wrong with it is an error of End alone, and a target
// that never answered is listed apart, as nobody serves there and that is no blackout.
// The probe itself is package blackout.
package guestprobe
