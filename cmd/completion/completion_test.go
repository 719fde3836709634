package completion

import (
	"flag"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A program with every kind of flag, as bash completes it.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	watch, compare := flag.NewFlagSet("watch", flag.ContinueOnError), flag.NewFlagSet("compare", flag.ContinueOnError)
	watch.String("json", "", "")
	watch.String("mode", "", "")
	watch.Bool("4", false, "")
	watch.Duration("for", 0, "")
	compare.Bool("json", false, "")
	program := Program{
		Name: "try-it", Values: map[string]string{"mode": "fast slow", "json": Files},
		Verbs: []Verb{{"watch", watch, "_try_operands"}, {"compare", compare, ""}, {"help", nil, ""}},
		Extra: "_try_operands() { COMPREPLY=(operand \"$1\"); }\n",
	}
	single := flag.NewFlagSet("single", flag.ContinueOnError)
	single.String("config", "", "")
	single.Bool("version", false, "")
	for _, tt := range []struct {
		program Program
		words   []string
		want    string
	}{
		{program, []string{"try-it", ""}, "watch compare help"},
		{program, []string{"try-it", "co"}, "compare"},
		{program, []string{"try-it", "watch", "-"}, "-4 --for --json --mode"},
		{program, []string{"try-it", "watch", "--mode", ""}, "fast slow"},
		{program, []string{"try-it", "watch", "--json", "completion_t"}, "completion_test.go"},
		{program, []string{"try-it", "watch", "x"}, "operand x"},
		{program, []string{"try-it", "watch", "--", "-x"}, "operand -x"},
		{program, []string{"try-it", "compare", "--json", "completion_t"}, ""},
		{program, []string{"try-it", "compare", "--"}, "--json"},
		{program, []string{"try-it", "help", "--"}, ""},
		{Program{Name: "single", Verbs: []Verb{{"", single, ""}}, Values: map[string]string{"config": Files}},
			[]string{"single", "-"}, "--config --version"},
		{Program{Name: "single", Verbs: []Verb{{"", single, ""}}, Values: map[string]string{"config": Files}},
			[]string{"single", "--config", "completion_t"}, "completion_test.go"},
	} {
		script := tt.program.Bash() + "set -u; COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))\n_" +
			tt.program.function() + "\necho \"${COMPREPLY[@]}\"\n"
		cmd := exec.CommandContext(t.Context(), bash, slices.Concat([]string{"/dev/stdin"}, tt.words)...)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.words, got, err, tt.want)
		}
	}
}

func TestAsked(t *testing.T) {
	for line, want := range map[string]bool{"--completion bash": true, "--completion": false,
		"--completion zsh": false, "": false, "check --completion bash": false} {
		if got := Asked(strings.Fields(line)); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}
