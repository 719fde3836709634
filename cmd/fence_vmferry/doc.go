// Command fence_vmferry is a fence agent (FenceAgentAPI.md of ClusterLabs): it asks the guard of this node for the
// proof that another node runs no guest and cannot write any more, and succeeds only with it. Under the name vmferry it
// is Heartbeat's STONITH plugin external/vmferry.
package main
