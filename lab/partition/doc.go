// Package partition is the partition matrix: what two nodes with a guard and without a power switch do when a link, a
// gateway, a node, the cluster's daemons or the guard itself fails. Each [Cut] says what it breaks and what has to come
// of it; a [Matrix] makes the cuts on the lab's nodes, one after the other, and judges each by the lab's own observers.
//
// Each node is the home of one guest, so that each cut has a guest on the side that surrenders. A plain process on each
// node, which the cluster does not know, must live through every cut.
//
// The cluster manager is Pacemaker, or Heartbeat in haresources mode, which the matrix sets up as vmferry-guard(8) says;
// [CutsUnder] says what is expected of each.
package partition
