// Package source makes the rounds of a guest's mirror at the node where the guest runs: see [Source.Round], and
// [Source.Close] for one that has ended.
//
//	hello, state → where to begin: checkpoint or all → round, ready → freeze, backup with the next checkpoint, thaw
//	→ data → abort the backup → commit, done → manifest → older checkpoints away
//
// Whatever fails, the guest goes on: the backup is aborted, the file systems are thawed, and the next checkpoint is
// deleted. Where commit was sent and no answer has come it stays: the replica's state tells at the next hello which one
// counts.
package source
