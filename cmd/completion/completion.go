package completion

import (
	"cmp"
	"flag"
	"fmt"
	"strings"
)

// Flag is the hidden flag by which a program prints its completion, followed by the shell's name.
const Flag = "--completion"

// Files stands for a file as the value of a flag.
const Files = "FILE"

// Program is a program as its command line sees it.
type Program struct {
	Name   string
	Verbs  []Verb            // its first words; one without a name has the flags of a program without verbs
	Values map[string]string // by flag: Files, or words with blanks between; of flags without a value nothing
	Extra  string            // functions that Operands name
}

// Verb is a command of a program, with its flags.
type Verb struct {
	Name     string
	Flags    *flag.FlagSet // nil for none
	Operands string        // a function that completes what is no flag, given the word so far; empty for none
}

// Asked reports whether the command line asks for the completion.
func Asked(args []string) bool { return len(args) == 2 && args[0] == Flag && args[1] == "bash" }

// Bash is the completion for bash.
func (p Program) Bash() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion of %s for bash, made by %[1]s %s bash from the program's flags.\n", p.Name, Flag)
	fmt.Fprintf(&b, "_%s() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} flags= "+
		"operands=\n\tCOMPREPLY=()\n",
		p.function())
	b.WriteString(p.verbs())
	b.WriteString("\tcase $command:$prev in\n")
	for _, v := range p.Verbs {
		b.WriteString(p.values(v))
	}
	b.WriteString("\tesac\n\tcase $command in\n")
	for _, v := range p.Verbs {
		fmt.Fprintf(&b, "\t%s)\n\t\tflags=%q operands=%s\n\t\t;;\n", cmp.Or(v.Name, "''"), strings.Join(v.flags(), " "),
			v.Operands)
	}
	b.WriteString(`	esac
	if [[ $cur == -* && " ${COMP_WORDS[*]:0:COMP_CWORD} " != *" -- "* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
	elif [[ $operands ]]; then
		$operands "$cur"
	fi
}
`)
	b.WriteString(p.Extra)
	fmt.Fprintf(&b, "complete -F _%s %s\n", p.function(), p.Name)
	return b.String()
}

// function is the program's name as part of a function's.
func (p Program) function() string { return strings.ReplaceAll(p.Name, "-", "_") }

// verbs completes the first word, and finds the command.
func (p Program) verbs() string {
	var names []string
	for _, v := range p.Verbs {
		if v.Name != "" {
			names = append(names, v.Name)
		}
	}
	if len(names) == 0 {
		return "\tlocal command=\n"
	}
	return fmt.Sprintf(`	local command=${COMP_WORDS[1]}
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W %q -- "$cur")
		return
	fi
`, strings.Join(names, " "))
}

// values completes what follows the flags of one verb.
func (p Program) values(v Verb) string {
	var b strings.Builder
	for _, name := range v.flags() {
		how := p.Values[strings.TrimLeft(name, "-")]
		switch {
		case how == "" || isBool(v.Flags.Lookup(strings.TrimLeft(name, "-"))):
			continue
		case how == Files:
			how = "-f"
		default:
			how = fmt.Sprintf("-W %q", how)
		}
		fmt.Fprintf(&b, "\t%s:%s)\n\t\tmapfile -t COMPREPLY < <(compgen %s -- \"$cur\")\n\t\treturn\n\t\t;;\n",
			cmp.Or(v.Name, "''"), name, how)
	}
	return b.String()
}

// flags are the flags of a verb as they are typed.
func (v Verb) flags() (names []string) {
	if v.Flags == nil {
		return nil
	}
	v.Flags.VisitAll(func(f *flag.Flag) {
		dashes := "--"
		if len(f.Name) == 1 {
			dashes = "-"
		}
		names = append(names, dashes+f.Name)
	})
	return names
}

func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
