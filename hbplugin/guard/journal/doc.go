// Package journal keeps what a guard did and why, one JSON object a line in a file of the node's state directory: each
// surrender, each answer to a fence call, each kill, and how the lease was taken again.
package journal
