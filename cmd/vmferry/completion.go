package main

import (
	"context"
	_ "embed"
	"io"
	"maps"
	"slices"

	"github.com/vmferry/vmferry/cmd/completion"
)

// guestsBash completes the names of guests.
//
//go:embed guests.bash
var guestsBash string

// bashCompletion is made of the flags that each command has by the time at which it prints its help.
func bashCompletion(commands map[string]command) string {
	p := completion.Program{
		Name: "vmferry", Extra: guestsBash,
		Values: map[string]string{"config": completion.Files, "html": completion.Files, "transport": "tcp tls ssh",
			"disks": "shared copy auto", "since": "24h 7d 30d"},
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		c := newCall(&machine{}, name, io.Discard, io.Discard)
		_ = commands[name](context.Background(), c, []string{"--help"})
		v := completion.Verb{Name: name, Flags: c.flags}
		if name == "migrate" {
			v.Operands = "_vmferry_guests"
		}
		p.Verbs = append(p.Verbs, v)
	}
	p.Verbs = append(p.Verbs, completion.Verb{Name: "version"}, completion.Verb{Name: "help"})
	return p.Bash()
}
