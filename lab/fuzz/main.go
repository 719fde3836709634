package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/lab/styletest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// run does what the arguments say, in the module that the current directory is the root of.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("fuzz", flag.ExitOnError)
	executions := flags.Int("executions", 0, "run each target `N` times")
	limit := flags.Duration("for", 0, "run each target for this `time`")
	only := flags.String("only", "", "run only targets whose \"package Name\" matches the `regexp`")
	gocmd := flags.String("go", "go", "the go `command`")
	tags := flags.String("tags", "", "the `tags` to build with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	switch {
	case err != nil:
		return fmt.Errorf("read -only: %w", err)
	case (*executions > 0) == (*limit > 0) || *executions < 0 || *limit < 0:
		return fmt.Errorf("set either -executions or -for to more than zero")
	}
	files, err := styletest.Load(".")
	if err != nil {
		return err
	}
	todo := plan(styletest.FuzzTargets(files), match)
	if len(todo) == 0 {
		return fmt.Errorf("no fuzz target matches %q", *only)
	}
	r := runner{
		gocmd: *gocmd, tags: *tags, executions: *executions, limit: *limit, patience: 10 * time.Minute,
		strict: os.Getenv("CI") == "true", out: os.Stdout,
	}
	return r.all(ctx, todo)
}
