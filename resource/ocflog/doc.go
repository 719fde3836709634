// Package ocflog is the agent's log: lines on standard error in the form that the caller
// expects, and the same in the journal with their fields.
//
// Start with [New]. The agent makes one logger for each call; vmferryd makes one for each
// monitor that it answers, and hands the lines to the caller.
package ocflog
