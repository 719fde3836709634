// Package outcome says what became of the guests of a drained node. [Sources.Wait] waits until those that were stopped
// are started elsewhere and finds out where each is; [Of] is the pure rule that compares that with what was predicted.
package outcome
