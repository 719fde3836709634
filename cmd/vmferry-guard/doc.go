// Command vmferry-guard is the guard of a node: it holds the node's lease on the shared device, gives the guests up
// where another node must have them, and proves to the cluster manager of this node that another one runs none.
package main
