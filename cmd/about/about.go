package about

import (
	"fmt"
	"io"

	"github.com/vmferry/vmferry/migrate/version"
)

// Asked reports whether the arguments of the program of that name are a question for its usage or its version, and
// prints that.
func Asked(name, usage string, args []string, stdout io.Writer) bool {
	if len(args) != 1 {
		return false
	}
	switch args[0] {
	case "--help", "-help", "-h":
		fmt.Fprint(stdout, usage)
	case "--version", "-version", "-V":
		fmt.Fprintln(stdout, name, version.String())
	default:
		return false
	}
	return true
}
