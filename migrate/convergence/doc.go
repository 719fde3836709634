// Package convergence is the rule by which a migration is steered: what it is begun with, how long its last copy may
// take, whether the guest is slowed down, when it is switched to post-copy, and when all of that is no use. It does no
// input or output and reads no clock.
package convergence
