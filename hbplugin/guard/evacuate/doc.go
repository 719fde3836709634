// Package evacuate migrates the guests of a node that surrenders to the node whose claim has won, without the cluster
// manager: in a split it can do nothing, as it waits for its own fence call. It may not even say how a guest is moved:
// then the notes of the agent do.
package evacuate
