package main

import (
	"context"
	"flag"
	"io"

	"github.com/vmferry/vmferry/cmd/completion"
)

// parsed gets the flags of each command that parses its arguments.
var parsed = func(*flag.FlagSet) {}

var verbs = []string{"serve", "watch", "show", "compare", "join"}

// bashCompletion is made of the flags that each command has by the time at which it prints its help.
func bashCompletion() string {
	p := completion.Program{Name: "blackout", Values: map[string]string{
		"json": completion.Files, "html": completion.Files, "csv": completion.Files}}
	defer func(before func(*flag.FlagSet)) { parsed = before }(parsed)
	for _, name := range verbs {
		v := completion.Verb{Name: name}
		parsed = func(fs *flag.FlagSet) { v.Flags = fs }
		_ = dispatch(context.Background(), []string{name, "--help"}, io.Discard, io.Discard)
		p.Verbs = append(p.Verbs, v)
	}
	p.Verbs = append(p.Verbs, completion.Verb{Name: "version"}, completion.Verb{Name: "help"})
	return p.Bash()
}
