// Command fuzz runs the module's fuzz targets one after the other, each in a binary with coverage instrumentation. A
// new target is found by itself.
//
// With -executions each target runs that often, whatever the machine's speed, on its committed corpus alone. With -for
// each runs that long, and what it finds interesting stays in build/fuzz/corpus for the next run. The go command's own
// cache is used by neither: a bounded run counts each input of its cache as an execution, so a large cache leaves none
// for new inputs.
//
// Interesting inputs are not minimized: the default of a minute for each is more than a bounded run takes.
//
// The exit code is 1 when a target fails, finds a failing input, or executes no new input. With CI=true in the
// environment a target that skips itself fails too. The go command's message
// names the file below testdata/fuzz that holds the failing input: it is a test from then on.
package main
