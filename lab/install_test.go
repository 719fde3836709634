package lab_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What apt-get 2.6 says when another one has the lock of its lists.
const locked = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 42 (apt-get)"

// fakeApt is an apt-get that fails a number of times with a complaint, and a machine that has the package gcc alone.
// The file calls has what it was called for.
func fakeApt(t *testing.T, failures, complaint, uid string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{
		"apt-get": `for last; do :; done
echo "$*" | sed 's/.*Timeout=600 //' >> ` + dir + `/calls
if test "$(grep -c . ` + dir + `/calls)" -le ` + failures + `; then echo '` + complaint + `' >&2; exit 100; fi`,
		"dpkg-query": `for last; do :; done; test "$last" = gcc && echo "install ok installed"`,
		"id":         "echo " + uid,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The packages are installed once the other apt-get has ended. What else fails is not tried again.
func TestInstallWaitsForAnotherAptGet(t *testing.T) {
	for _, c := range []struct {
		name, failures, complaint, uid string
		packages                       []string
		calls                          []string
		code                           int
		words                          string
	}{
		{"nothing is missing", "0", "", "0", []string{"gcc"}, nil, 0, ""},
		{"nobody else is at work", "0", "", "0", []string{"gcc", "zstd", "cpio"},
			[]string{"update", "install -y --no-install-recommends zstd cpio"}, 0, ""},
		{"another is at work", "3", locked, "0", []string{"zstd"},
			[]string{"update", "update", "update", "update", "install -y --no-install-recommends zstd"},
			0, "waiting for the other apt-get"},
		{"no network", "9", "E: Failed to fetch", "0", []string{"zstd"}, []string{"update"}, 1, "Failed to fetch"},
		{"for ever", "999", locked, "0", []string{"zstd"}, nil, 1, "held by process 42"},
		{"no root", "0", "", "1000", []string{"gcc", "zstd"}, nil,
			1, "type: sudo apt-get install --no-install-recommends zstd\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := fakeApt(t, c.failures, c.complaint, c.uid)
			cmd := exec.CommandContext(t.Context(), "../.ci/install", c.packages...)
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "APT_PAUSE=0")
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.words) {
				t.Errorf("exit code %d, want %d with %q\n%s", code, c.code, c.words, out)
			}
			text, _ := os.ReadFile(filepath.Join(dir, "calls"))
			calls := strings.TrimSpace(string(text))
			if c.failures == "999" { // it gives up in the end
				if n := strings.Count(calls, "update"); n != 120 {
					t.Errorf("it was tried %d times", n)
				}
				return
			}
			if want := strings.Join(c.calls, "\n"); calls != want {
				t.Errorf("called for\n%s\nwant\n%s", calls, want)
			}
		})
	}
}
