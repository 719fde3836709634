package roottest

import (
	"os"
	"testing"
)

// Need skips a test that works as root only. In CI all tests run: there it fails.
func Need(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the test needs root")
		}
		t.Skip("the test needs root")
	}
}

// Must ends the test if err is not nil.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
