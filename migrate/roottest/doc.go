// Package roottest helps tests that create files of several users.
package roottest
