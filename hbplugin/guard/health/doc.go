// Package health decides the node health attribute of Pacemaker: a node that is worse off than another member, though
// the link is up, is not fenced, and its guests move live to the better node. What Pacemaker does with the colours is
// its option node-health-strategy: with migrate-on-red no guest may stay on a red node, with only-green on no yellow
// one either. Heartbeat has nothing of the kind.
package health
