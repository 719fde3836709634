package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newNVMe puts an nvme-cli first in PATH whose namespace is a directory: a file for each registered key.
func newNVMe(t *testing.T) (calls func() string) {
	t.Helper()
	dir := t.TempDir()
	text := `#!/bin/sh
cd ` + dir + `; echo "$@" >>calls
case $1 in
resv-report)
	echo '{"gen":1,"rtype":'$(cat rtype)',"regctl":'$(ls keys | wc -l)',"ptpls":1,"regctlext":['
	comma=; for k in $(ls keys); do echo "$comma{\"rkey\":$k}"; comma=,; done; echo ']}' ;;
resv-register) : >keys/$((${3#--nrkey=})) ;;
resv-acquire)
	case $* in
	*--racqa=2) rm keys/$((${4#--prkey=})) ;;
	*) echo 5 >rtype ;;
	esac ;;
esac
`
	for name, text := range map[string]string{"nvme": text, "rtype": "0\n", "calls": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		text, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func try(t *testing.T, code int, want, line string) {
	t.Helper()
	var out bytes.Buffer
	if got := run(t.Context(), strings.Fields(line), &out, &out); got != code || !strings.Contains(out.String(), want) {
		t.Errorf("%s: exit code %d, want %d:\n%s", line, got, code, out.String())
	}
}

func TestRun(t *testing.T) {
	calls := newNVMe(t)
	try(t, 1, "/dev/nvme0n1: this node's key 0x1 is not registered", "revoke --own 1 --key 2 /dev/nvme0n1")
	try(t, 0, "", "admit --key 1 /dev/nvme0n1")
	try(t, 0, "", "admit --key 0x2 /dev/nvme0n1")
	try(t, 0, "", "revoke --own 1 --key 2 /dev/nvme0n1")
	try(t, 1, "this node's key 0x2 is not registered", "revoke --own 2 --key 1 /dev/nvme0n1")
	try(t, 0, "", "admit --key 2 /dev/nvme0n1")
	for want, times := range map[string]int{
		"resv-register /dev/nvme0n1 --nrkey=0x1 --rrega=0 --cptpl=3\n":            1,
		"resv-register /dev/nvme0n1 --nrkey=0x2 --rrega=0 --cptpl=3\n":            2,
		"resv-acquire /dev/nvme0n1 --crkey=0x1 --rtype=5 --racqa=0\n":             1,
		"resv-acquire /dev/nvme0n1 --crkey=0x1 --prkey=0x2 --rtype=5 --racqa=2\n": 1,
	} {
		if got := strings.Count(calls(), want); got != times {
			t.Errorf("%d times %s, want %d:\n%s", got, want, times, calls())
		}
	}
}

func TestCommandLine(t *testing.T) {
	try(t, 0, "usage: vmferry-nvme", "--help")
	try(t, 0, "vmferry-nvme ", "--version")
	for line, want := range map[string]string{
		"":                               "must be revoke or admit",
		"report /dev/a":                  "must be revoke or admit",
		"admit /dev/a":                   "--key is missing",
		"admit --own 1 --key 1 /dev/a":   "-own",
		"revoke --key 2 /dev/a":          "--own is missing",
		"revoke --own 1 --key 2":         "no device is named",
		"revoke --own 1 --key 0 /dev/a":  "use a number from 1",
		"revoke --own 1 --key x /dev/a":  "use a number from 1",
		"revoke --own 1 --key 2 nvme0n1": `"nvme0n1" is not an absolute path`,
	} {
		try(t, 2, want, line)
	}
}

func TestNoNVMeCLI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	try(t, 1, "executable file not found", "admit --key 1 /dev/a")
}
