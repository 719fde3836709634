// Package hbplugin holds what vmferry asks of a cluster manager when a node
// goes down: to move its guests away, to say which are still there, and to
// take the request back when the shutdown was called off.
//
// The package itself is only the contract ([Manager], [Cluster], [View], [Guest]; [Verdict], [Claim]).
// The sub-packages fill it, those that speak to others:
//
//   - pacemaker drives Pacemaker through its own programs (crm_attribute,
//     crm_mon, crm_node, crm_resource, cibadmin, crm_simulate);
//   - heartbeat drives Heartbeat in haresources mode through its own (cl_status,
//     hb_standby, hb_takeover); heartbeat/script is what Heartbeat executes;
//   - managers finds which of both run here, by the configuration (config);
//   - ring finds the addresses of the cluster's nodes;
//   - logind holds systemd-logind's delay inhibitor and reports shutdowns.
//
// And those that decide, each a pure rule and what asks for it:
//
//   - inventory: which guests are on this node;
//   - verdict: what becomes of a guest when its node goes into standby; prediction: the same for vmferryd, in time;
//   - check: can this node be drained, and if not, what to type;
//   - plan: who leaves when, and what clients notice;
//   - shutdown: must the shutdown still wait, once a second;
//   - outcome: what became of the guests.
//
// vmferry never chooses where a guest goes: that is the manager's work. What
// it adds is that the machine waits until the manager is done.
package hbplugin
