package ocf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		name           string
		args           []string
		code           ExitCode
		done           bool
		stdout, stderr string // how they begin; empty: nothing is written
	}{
		{"meta-data", []string{"meta-data"}, Success, true, "<?xml", ""},
		{"usage", []string{"usage"}, Success, true, "usage: vmferry-agent ACTION", ""},
		{"--help", []string{"--help"}, Success, true, "usage: vmferry-agent ACTION", ""},
		{"nothing", nil, Args, true, "", "usage: vmferry-agent ACTION"},
		{"two words", []string{"stop", "now"}, Args, true, "", "usage: vmferry-agent ACTION"},
		{"unknown", []string{"promote"}, Unimplemented, true, "", `ocf-exit-reason:unknown action "promote": use start, stop, `},
		{"hostile", []string{"a\nb"}, Unimplemented, true, "", `ocf-exit-reason:unknown action "a b": use `},
		{"control characters", []string{"\x1b[2J\u202e\xff"}, Unimplemented, true, "",
			`ocf-exit-reason:unknown action "\u001b[2J\u202e` + "\ufffd" + `": use `},
		{"an action", []string{"monitor"}, Success, false, "", ""},
		{"a change", []string{"migrate_to"}, Success, false, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code, done := Plain(c.args, nil, &stdout, &stderr)
			if code != c.code || done != c.done {
				t.Errorf("code %d, done %t; want %d, %t", code, done, c.code, c.done)
			}
			for _, out := range []struct{ got, want string }{{stdout.String(), c.stdout}, {stderr.String(), c.stderr}} {
				if !strings.HasPrefix(out.got, out.want) || out.want == "" && out.got != "" {
					t.Errorf("wrote %q, want %q", out.got, out.want)
				}
			}
		})
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		reason  string
		want    string
	}{
		{"success, and not running, which is no failure", nil, "", ""},
		{"one line", nil, "a: b\nc\t d", "ocf-exit-reason:a: b c d\n"},
		{"prefix of the manager", []string{"OCF_EXIT_REASON_PREFIX=why:"}, "x", "why:x\n"},
		{"empty prefix", []string{"OCF_EXIT_REASON_PREFIX="}, "x", "ocf-exit-reason:x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			Report(&out, c.environ, c.reason)
			if out.String() != c.want {
				t.Errorf("wrote %q, want %q", out.String(), c.want)
			}
		})
	}
}

func TestCodeOf(t *testing.T) {
	cause := errors.New("no answer")
	coded := &Error{Code: Installed, Reason: "cannot look", Err: cause}
	for _, c := range []struct {
		err  error
		code ExitCode
		text string
	}{
		{nil, Success, ""},
		{cause, Generic, "no answer"},
		{coded, Installed, "cannot look: no answer"},
		{fmt.Errorf("wrapped: %w", coded), Installed, "wrapped: cannot look: no answer"},
		{&Error{Code: NotRunning}, NotRunning, ""},
		{&Error{Code: Generic, Err: cause}, Generic, "no answer"},
	} {
		if got := CodeOf(c.err); got != c.code {
			t.Errorf("%v has code %d, want %d", c.err, got, c.code)
		}
		if c.err != nil && c.err.Error() != c.text {
			t.Errorf("text %q, want %q", c.err.Error(), c.text)
		}
	}
	if !errors.Is(coded, cause) {
		t.Error("the cause is lost")
	}
}
