// Command fence_vmferry is a fence agent (FenceAgentAPI.md of ClusterLabs): it asks the guard of this node for the proof
// that another node runs no guest and cannot write any more, and succeeds only with it.
//
// It is not installed yet, nor is the guard.
package main
