// Package history is what a node remembers of its migrations, in three files of its state directory.
//
//	file               written by                    read by                                 killed while writing
//	migrations.jsonl   [AppendRecord]: one line      [ReadRecords]: status, report, daemon   skips half lines
//	links.json         [LearnLink]: one per peer     [ReadLinks]: prediction, plan           the old file stays
//	guests.json        [LearnGuest]: one per guest   [ReadGuests]: prediction, plan          the old file stays
//
// What a record teaches is a pure rule for each: [Link].learn and [Profile].learn. Several processes may write at once.
package history
