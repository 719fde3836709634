package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain plays the program that is run, where the environment says so.
func TestMain(m *testing.M) {
	switch play := os.Getenv("PLAY"); play {
	case "":
		os.Exit(m.Run())
	case "writes":
		_, _ = os.Stdout.WriteString("to stdout\n")
		_, _ = os.Stderr.WriteString("first\n  last words \n\n")
		os.Exit(3)
	case "much":
		_, _ = os.Stdout.WriteString(strings.Repeat("x", 5000) + "end")
	case "polite", "deaf":
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.SIGTERM)
		_, _ = os.Stdout.WriteString("up")
		<-c
		if play == "deaf" {
			<-time.After(time.Minute)
		}
		_, _ = os.Stdout.WriteString(", and down")
		os.Exit(1)
	}
	os.Exit(0)
}

func self(t *testing.T) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	var exit *exec.ExitError
	out, errs, err := How{Environ: []string{"PLAY=writes"}}.Run(t.Context(), self(t))
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(out) != "to stdout\n" || LastLine(string(errs)) != "last words" {
		t.Errorf("%q, %q, %v", out, errs, err)
	}
	if text := Explain(string(errs), err).Error(); text != "exit status 3: last words" {
		t.Errorf("explained as %q", text)
	}
	out, errs, _ = How{Environ: []string{"PLAY=writes"}, Merge: true}.Run(t.Context(), self(t))
	if !strings.Contains(string(out), "to stdout\n") || !strings.Contains(string(out), "last words") || len(errs) > 0 {
		t.Errorf("merged: %q, %q", out, errs)
	}
	if _, _, err := (How{}).Run(t.Context(), "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("no such program: %v", err)
	}
}

// Half an answer is none; of what only people read the end is kept.
func TestMax(t *testing.T) {
	much := []string{"PLAY=much"}
	if out, _, err := (How{Environ: much, Max: 5003}).Run(t.Context(), self(t)); err != nil || len(out) != 5003 {
		t.Errorf("it fits: %d bytes, %v", len(out), err)
	}
	if _, _, err := (How{Environ: much, Max: 5002}).Run(t.Context(), self(t)); err == nil ||
		!strings.Contains(err.Error(), "more than 5002 bytes") {
		t.Errorf("too much: %v", err)
	}
	if out, _, err := (How{Environ: much, Max: 100, Merge: true}).Run(t.Context(), self(t)); err != nil ||
		len(out) != 100 || !strings.HasSuffix(string(out), "end") {
		t.Errorf("the end: %q, %v", out, err)
	}
}

// At the end of its time a program is asked to end, and then made to.
func TestDeadline(t *testing.T) {
	late := errors.New("too late")
	for _, tt := range []struct {
		play   string
		grace  time.Duration
		output string
	}{{"polite", 10 * time.Second, "up, and down"}, {"deaf", 200 * time.Millisecond, "up"}, {"polite", 0, "up"}} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, late)
		began := time.Now()
		out, _, err := How{Environ: []string{"PLAY=" + tt.play}, Grace: tt.grace}.Run(ctx, self(t))
		cancel()
		if !errors.Is(err, late) || string(out) != tt.output || time.Since(began) > 8*time.Second {
			t.Errorf("%s with %v: %q after %v, %v", tt.play, tt.grace, out, time.Since(began), err)
		}
	}
}

func TestLastLine(t *testing.T) {
	for text, want := range map[string]string{"": "", "one": "one", "one\n two \n\n": "two", "\n\n": ""} {
		if got := LastLine(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// onWrite is a writer that calls it for each write.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) { f(); return len(p), nil }

// A program that does not die is left behind.
func TestProgramThatCannotBeKilled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, []byte("here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "tail", "-f", file) // which says what it has, and stays
	process := make(chan *os.Process, 1)
	cmd.Stdout = onWrite(cancel)
	cmd.Cancel, cmd.WaitDelay = func() error { process <- cmd.Process; return nil }, time.Hour
	if err := until(ctx, cmd, (*exec.Cmd).Start, leaveTime); !errors.Is(err, ErrStuck) || !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if err := (<-process).Kill(); err != nil {
		t.Error(err)
	}
}

// script makes a program of a shell's lines.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExecute(t *testing.T) {
	run := Execute([]string{"GREETING=hello", "PATH=/usr/bin:/bin"})
	if out, err := run(t.Context(), script(t, `echo $GREETING "$1"; echo 2 >&2; cat`), "$(id)"); err != nil ||
		out != "hello $(id)\n2\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := run(t.Context(), script(t, "echo why; exit 3")); err == nil ||
		Explain(out, err).Error() != "exit status 3: why" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := run(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	if out, err := run(t.Context(), script(t, "yes | head -c 200000; echo end")); err != nil || len(out) != 64<<10 ||
		LastLine(out) != "end" {
		t.Errorf("%d bytes that end in %q, %v", len(out), LastLine(out), err)
	}
	// It and its child are killed at the deadline.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := run(ctx, script(t, "sleep 60 & sleep 60")); !errors.Is(err, context.DeadlineExceeded) ||
		time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
