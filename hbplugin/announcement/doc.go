// Package announcement announces one guest to the network with what the cluster knows: the addresses of its nodes,
// which are no guest's, and the parameters that the agent noted. Frames and addresses are those of package
// migrate/announce.
package announcement
