// The front of vmferry-agent is what the cluster manager executes, as
// /usr/lib/ocf/resource.d/vmferry/Domain and as /etc/ha.d/resource.d/vmferry. A monitor
// comes every few seconds for each guest of a node and must cost next to nothing, so this
// program is small: it prints the meta-data, and puts a monitor to vmferryd, which has a
// connection to libvirt open (package resource/agentd).
//
// All else, and each monitor that vmferryd does not answer, is the full program's: the
// front becomes it by execve(2), with the same arguments and environment. Only the
// action's timeout is made shorter by what asking has cost. The full program is the
// parent folder's.
//
// What this package imports, each monitor pays for: `GODEBUG=inittrace=1 vmferry-agent
// meta-data` shows the bill.
package main
