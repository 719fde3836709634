package main

import (
	"flag"
	"strings"
	"testing"
)

// The manual, the usage and the completion name every flag that there is.
func TestFlagsAreDescribed(t *testing.T) {
	texts := map[string]string{"vmferryd.8": strings.ReplaceAll(read(t, "vmferryd.8"), `\-`, "-"), "usage": usage,
		"the completion": bashCompletion()}
	new(options).flags().VisitAll(func(f *flag.Flag) {
		for what, text := range texts {
			if !strings.Contains(text, "-"+f.Name) {
				t.Errorf("%s does not mention --%s", what, f.Name)
			}
		}
	})
}
