// Package managers finds the cluster managers of this node: those that the configuration allows ([Configured]), and
// which of them run ([Look]). [Any] is all of them as one.
package managers
