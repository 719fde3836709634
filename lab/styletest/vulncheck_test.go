package styletest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What govulncheck 1.9 says.
const (
	scanned     = "DB: https://vuln.go.dev\nDB updated: 2026-11-01 00:00:00 +0000 UTC\n\nNo vulnerabilities found."
	unreachable = `govulncheck: fetching vulnerabilities: Get "https://vuln.go.dev/index/modules.json.gz": dial tcp: no such host`
	noCopy      = "creating client: stat /nonexistent: no such file or directory"
	affected    = "Vulnerability #1: GO-2099-0001\n    Found in: github.com/sirupsen/logrus@v1.10.2"
)

// A database that cannot be reached is neither clean nor a finding. It fails where the caller named the database.
func TestVulncheck(t *testing.T) {
	const db = "file:///nonexistent"
	for _, c := range []struct {
		name, script, db string
		code             int
		last             string
		// said is what must be passed on from govulncheck.
		said string
	}{
		{"clean", "echo '" + scanned + "'", "", 0,
			"vulnerabilities: none known (database of 2026-11-01 00:00:00 +0000 UTC)", ""},
		{"affected", "echo '" + affected + "'; exit 3", "", 1, "vulnerabilities: FOUND", "GO-2099-0001"},
		{"unreachable", "echo '" + unreachable + "' >&2; exit 1", "", 0,
			`vulnerabilities: UNKNOWN (database not reachable: Get "https://vuln.go.dev/index/modules.json.gz": ` +
				"dial tcp: no such host); unknown is not clean", ""},
		{"unreachable, and named", "echo '" + unreachable + "' >&2; exit 1", "https://vuln.go.dev", 1,
			`vulnerabilities: UNKNOWN (database not reachable: Get "https://vuln.go.dev/index/modules.json.gz": ` +
				"dial tcp: no such host); unknown is not clean", ""},
		{"no offline copy", "echo '" + noCopy + "' >&2; exit 1", db, 1,
			"vulnerabilities: UNKNOWN (database not reachable: stat /nonexistent: no such file or directory); unknown is not clean", ""},
		{"the name is passed on", `test "$1 $2" = "-db ` + db + `" && echo '` + scanned + "'", db, 0,
			"vulnerabilities: none known (database of 2026-11-01 00:00:00 +0000 UTC)", ""},
		{"packets are dropped", "exec sleep 60", "", 0, "vulnerabilities: UNKNOWN (no result within 0.2 s); unknown is not clean", ""},
		{"it fails", "echo 'loading packages: no such package' >&2; exit 1", "", 1,
			"vulnerabilities: UNKNOWN (govulncheck failed with exit code 1); unknown is not clean", "no such package"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			fakeProgram(t, dir, "govulncheck", c.script)
			fakeProgram(t, dir, "go", "echo "+dir+"/govulncheck")
			code, out := vulncheck(t, dir, "GOVULNDB="+c.db, "VULNCHECK_LIMIT="+limit(c.script))
			if code != c.code || out[strings.LastIndexByte(out, '\n')+1:] != c.last || !strings.Contains(out, c.said) {
				t.Errorf("exit code %d, want %d with %q\n%s", code, c.code, c.last, out)
			}
		})
	}
	t.Run("no govulncheck", func(t *testing.T) {
		dir := t.TempDir()
		fakeProgram(t, dir, "go", "echo 'go: no such tool' >&2; exit 1")
		if code, out := vulncheck(t, dir); code == 0 || !strings.Contains(out, "no such tool") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}

// limit is short only for a govulncheck that never ends by itself.
func limit(script string) string {
	if strings.Contains(script, "sleep") {
		return "0.2"
	}
	return "60"
}

// fakeProgram writes a shell script into dir.
func fakeProgram(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// vulncheck runs the script with the go command in dir. It returns the exit code and what was printed.
func vulncheck(t *testing.T, dir string, env ...string) (code int, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), ".ci/vulncheck", "./...")
	cmd.Dir = root(t)
	cmd.Env = append(append(os.Environ(), "GO="+dir+"/go"), env...)
	b, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(string(b))
}
