package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// ProgramName is the file name under which the lab's program is [Main].
const ProgramName = "hostile_lab"

// part is one kind of attack. It calls ready when it has begun, and ends with ctx.
type part func(ctx context.Context, args []string, out io.Writer, ready func()) error

var parts = map[string]part{"crowd": crowd, "bus": bus, "litter": litter, "silent": silent, "tap": tap}

// Main runs the part that the first argument names, with the arguments that follow, until SIGINT or SIGTERM. It returns
// the program's exit code. What the part found out goes to out, and complaints go to problem.
func Main(args []string, out, problem io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	ready := func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) } // nobody waits where it fails
	if err := run(ctx, args, out, ready); err != nil {
		fmt.Fprintln(problem, ProgramName+":", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, out io.Writer, ready func()) error {
	if len(args) == 0 {
		return errors.New("no part is named")
	}
	do, known := parts[args[0]]
	if !known {
		return fmt.Errorf("unknown part %q", args[0])
	}
	return do(ctx, args[1:], out, ready)
}

// list is a flag that can be given several times.
type list []string

// String is for the flag package.
func (l *list) String() string { return strings.Join(*l, " ") }

// Set adds a value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", flags.Name(), err)
	}
	return nil
}

// environment is this process's, without the variables that are named.
func environment(without ...string) []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(without, name)
	})
}
