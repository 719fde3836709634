// Package hbplugin holds what vmferry asks of a cluster manager when a node
// goes down: to move its guests away, to say which are still there, and to
// take the request back when the shutdown was called off.
//
// The package itself is only the contract ([Manager], [View], [Guest]; [Forecaster], [Verdict], [Claim]). The
// sub-packages fill it:
//
//   - pacemaker drives Pacemaker through its own programs (crm_attribute,
//     crm_mon, crm_node, cibadmin, crm_simulate);
//   - heartbeat drives Heartbeat in haresources mode through its own (cl_status,
//     hb_standby, hb_takeover);
//   - ring finds the addresses of the cluster's nodes;
//   - logind holds systemd-logind's delay inhibitor and reports shutdowns;
//   - shutdown decides, once a second, whether the shutdown must still wait.
//
// vmferry never chooses where a guest goes: that is the manager's work. What
// it adds is that the machine waits until the manager is done.
package hbplugin
