// Package drain plans how a node is emptied before a deadline.
package drain
