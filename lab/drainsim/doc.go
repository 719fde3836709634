// Package drainsim empties nodes that do not exist, in time that does not pass, with the very
// planner that empties real ones. Start with [Run].
//
// # What is real and what is not
//
// Real are package drain's queue, one for each node that is emptied, and its plans and predictions.
// Made up are the hosts: each guest copies its memory pass by pass over a link that all who send
// on it share equally at every instant, is stopped, handed over and resumed. So a pause is what
// comes out of the sharing, not what was predicted. Made up, too, is the cluster manager: it
// calls for all guests of a node within a second, in any order, chooses targets in turn, tries
// another when one refuses, and starts a guest elsewhere that was shut down.
//
// Everything happens on one goroutine, in the order of a clock that jumps from one event to
// the next: the same Config gives the same Result.
package drainsim
