// Package about prints what a program says of itself: its usage and its version.
package about
