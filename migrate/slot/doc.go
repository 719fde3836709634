// Package slot bounds how many migrations leave a node at once, over all processes of the node: a slot is the lock of a
// file, which the kernel gives back when its holder dies.
package slot
