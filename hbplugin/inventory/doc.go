// Package inventory finds out which guests are on this node, by everybody's word: libvirt's, the hypervisor processes',
// the cluster manager's, and the agent's own notes. [Survey] asks; what it could not learn is part of the answer.
//
// [Inventory.Predict] joins that with what the managers would do in standby, to one verdict for each guest that is
// here.
package inventory
