// Package atomicfile writes files that a reader, or whoever comes after a crash, finds whole: either
// with their earlier content or with all of the new one.
//
// Start with [File]. It is the one way in which this module's programs rewrite what they
// keep: notes, reports, and the operator's file where he asks for it.
package atomicfile
