// Package model holds guard.pml, a model of the guard's protocol for spin, and the test that checks it with the times
// of package timing: complete for one fault in "make test", by bitstate hashing for two in "make model".
package model
