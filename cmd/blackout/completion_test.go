package main

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

// The manual, the usage and the completion name every command and flag that there is.
func TestFlagsAreDescribed(t *testing.T) {
	manual, err := os.ReadFile("blackout.1")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"blackout.1": strings.ReplaceAll(string(manual), `\-`, "-"), "usage": usage,
		"the completion": bashCompletion()}
	defer func() { parsed = func(*flag.FlagSet) {} }()
	for _, c := range commands {
		name := c.name
		flags := 0
		parsed = func(fs *flag.FlagSet) {
			fs.VisitAll(func(f *flag.Flag) {
				flags++
				for what, text := range texts {
					if !strings.Contains(text, "-"+f.Name) && !strings.Contains(text, "Fl "+f.Name) {
						t.Errorf("%s does not mention --%s of %s", what, f.Name, name)
					}
				}
			})
		}
		var out strings.Builder
		if err := dispatch(t.Context(), []string{name, "--help"}, &out, &out); !errors.Is(err, flag.ErrHelp) ||
			flags == 0 {
			t.Errorf("%s --help: %d flags, %v", name, flags, err)
		}
		for what, text := range texts {
			if !strings.Contains(text, name) {
				t.Errorf("%s does not mention %s", what, name)
			}
		}
	}
}
