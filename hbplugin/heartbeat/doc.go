// Package heartbeat is the cluster manager contract, hbplugin.Manager and hbplugin.Cluster, kept
// for Heartbeat 3.0.6 in haresources mode ("crm no" in ha.cf) with two nodes.
//
// There is no library: cl_status(1), hb_standby and hb_takeover are run by
// argument list with a deadline. Heartbeat has no standby that it remembers.
// "hb_standby all" asks the other node to take everything, once; until both
// nodes are done "cl_status rscstatus" says transition, and then none. None is
// therefore what a node in standby looks like, whoever requested it. A request
// does not outlive the daemon, and so no boot either.
//
// Heartbeat knows resources by their line in haresources only, and holds them
// all or not: those whose line names this node are local, the others foreign.
// [ParseHaresources] finds the guests among them, and [Client.View] lists those
// that the node could hold. There is no scheduler to ask: [Client.Forecast] says that the other node takes all,
// while it is active. Whether Heartbeat runs at all is judged by its
// process, which is root's, as cl_status fails alike for a daemon that is gone and for one that
// does not answer.
//
// The other half of the support is what Heartbeat executes as
// /etc/ha.d/resource.d/vmferry: see package script. It asks the Client for
// the nodes that a guest can move to ([Client.Peers]) or may be on
// ([Client.Nodes]).
package heartbeat
