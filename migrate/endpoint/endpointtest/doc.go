// Package endpointtest has the two ends of a migration for tests, without libvirt: a [Pair] of a source with a running
// guest and a target. What a test wants to go wrong it assigns to a [Fake]'s fields.
package endpointtest
