// Package record has the form of what vmferry writes down about a migration: one [Record] for each, a line of JSON,
// with what was predicted beside what was measured. Names and meanings of the fields do not change within a [Schema].
//
//   - record.go: the form.
//   - facts.go: what follows from a record, such as the hand-over's part of the pause.
//
// Package history keeps the records, and learns from them.
package record
