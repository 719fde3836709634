// Package pacemaker is the cluster manager contract, hbplugin.Manager and hbplugin.Cluster, kept
// for Pacemaker 2.1 and 3.
//
// There is no library: Pacemaker's programs are run by argument list with a
// deadline. They always ask the cluster: a CIB_file or CIB_shadow in the caller's environment
// does not reach them. Standby is the transient node attribute "standby" (lifetime
// reboot), which Pacemaker itself forgets when the node leaves the cluster, so
// a node never comes back in standby because vmferry once drained it. An
// operator's own standby is normally the permanent attribute of that name;
// Unstandby deletes the transient one only.
//
// What is active here comes from "crm_mon --output-as=xml", whose form is
// fixed by the schemas crm_mon-*.rng and resources-*.rng in Pacemaker's api
// directory; package cib is its only parser. Whether Pacemaker runs at all is judged by its processes, which
// are those of root and hacluster outside containers: crm_mon answers 102 (not connected) for a cluster that is gone
// and for one that is
// merely restarting.
//
// What would become of the guests ([Client.Forecast]) is the scheduler's own word: crm_simulate gets a private copy
// of the CIB in which this node is in standby, and package forecast reads and explains its answer. Nothing of the
// cluster is changed. What is configured ([Client.Claims], [Client.Runnable]) is read from the CIB.
package pacemaker
