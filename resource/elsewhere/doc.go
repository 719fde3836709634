// Package elsewhere finds out, before a guest is started here, whether it runs on another node.
//
// The cluster manager has asked the agent on each node already, and it fences a node that did not answer. What it
// cannot know of is a guest that was moved or started behind its back, so each peer's libvirt is asked again. One that
// gives no answer is believed to be as the manager left it, unless the guest was on its way to or from there.
//
// [Questions] says whom to ask. [Cluster.Ask] asks, and shares the answers with other starts of this node ([Census]).
// [Decide] turns the answers into a [Decision]: start, wait, fetch or refuse.
package elsewhere
