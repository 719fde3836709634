package main

import (
	"bytes"
	_ "embed"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/mirrord"
	"github.com/vmferry/vmferry/hbplugin/mirrorfiles"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/wire"
)

//go:embed vmferry-mirror.service
var unit string

//go:embed vmferry-mirror.8
var manual string

func call(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args   string
		ssh    string
		code   int
		stdout string
		stderr string
	}{
		{"--help", "", exitOK, "usage: vmferry-mirror", ""},
		{"--version", "", exitOK, "vmferry-mirror ", ""},
		{"receive", "vmferry-mirror --version", exitOK, "vmferry-mirror ", ""},
		{"--clock", "", exitOK, "T", ""},
		{"receive", "vmferry-mirror --clock", exitOK, "Z", ""},
		{"receive", "vmferry-mirror --clock --debug", exitError, "", "EOF"},
		{"receive", "vmferry-mirror --debug", exitError, "", "EOF"},
		{"receive", "vmferry-mirror receive", exitError, "", "EOF"},
		{"receive", "vmferry-mirror receive files x vmferry-1-1 --server --daemon .", exitError, "", "has no such [[mirror]] to it"},
		{"receive switch x vmferry-1-1", "", exitError, "", "has no such [[mirror]] to it"},
		{"receive rsync x vmferry-1-1", "", exitUsage, "", `unexpected argument "receive"`},
		{"receive switch x", "", exitUsage, "", `unexpected argument "receive"`},
		{"receive", "rm -rf /", exitError, "", "EOF"}, // a key with this forced command can do nothing else
		{"receive more", "", exitUsage, "", `unexpected argument "receive"`},
		{"--debug receive", "", exitUsage, "", `unexpected argument "receive"`},
		{"send", "", exitUsage, "", `unexpected argument "send": type vmferry-mirror --help`},
		{"--loud", "", exitUsage, "", "flag provided but not defined: -loud"},
		{"--config " + os.DevNull + "/x", "", exitError, "", "read the configuration"},
	} {
		t.Setenv("SSH_ORIGINAL_COMMAND", test.ssh)
		code, stdout, stderr := call(t, "", strings.Fields(test.args)...)
		if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
			t.Errorf("%s (%s): %d, %q, %q", test.args, test.ssh, code, stdout, stderr)
		}
	}
}

// What is received is answered, or refused, in messages.
func TestReceive(t *testing.T) {
	t.Setenv("SSH_ORIGINAL_COMMAND", "")
	var hello, answer bytes.Buffer
	h := wire.Hello{Schema: mirror.Schema, Guest: "web", UUID: "no-uuid", Node: "n1", Epoch: 1}
	if err := wire.New(nil, &hello).Send(h); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := call(t, hello.String(), "receive")
	answer.WriteString(stdout)
	m, err := wire.New(&answer, nil).Receive()
	if _, refused := m.(wire.Refused); code != exitError || !refused {
		t.Errorf("%d, %v, %v, %q", code, m, err, stderr)
	}
}

func TestCompletion(t *testing.T) {
	code, stdout, _ := call(t, "", "--completion", "bash")
	if code != exitOK || !strings.Contains(stdout, "--debug") || !strings.Contains(stdout, "complete -F _vmferry_mirror vmferry-mirror") {
		t.Errorf("%d, %q", code, stdout)
	}
}

// The unit never gives up, and the manual names the flags and the files.
func TestUnitAndManual(t *testing.T) {
	for _, line := range []string{"Restart=always", "StartLimitIntervalSec=0", "Type=notify", "ExecStart=/usr/sbin/vmferry-mirror"} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(unit) {
			t.Errorf("the unit has no %s", line)
		}
	}
	text := strings.ReplaceAll(manual, `\-`, "-")
	for _, word := range []string{"-config", "-debug", "-version", "-clock", receive, mirrorfiles.DefaultDir,
		mirrorfiles.StagingSuffix, mirrord.Socket, mirrord.Key, mirror.DefaultDir, mirror.OldSuffix, "vmferry-mirror.service"} {
		if !strings.Contains(text, word) {
			t.Errorf("the manual does not name %s", word)
		}
	}
}
