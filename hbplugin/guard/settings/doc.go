// Package settings reads the configuration of one node's guard, /etc/vmferry/guard.toml. What all nodes must have in
// common, the times and the nodes' names, is on the lease device.
package settings
