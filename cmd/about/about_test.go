package about

import (
	"bytes"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/version"
)

func TestAsked(t *testing.T) {
	for line, want := range map[string]string{
		"--help": "usage: x\n", "-h": "usage: x\n", "-help": "usage: x\n", "--version": "x " + version.String() + "\n",
		"-V": "x " + version.String() + "\n", "": "", "help": "", "off --help": "", "--help --version": "",
	} {
		var out bytes.Buffer
		if asked := Asked("x", "usage: x\n", strings.Fields(line), &out); asked != (want != "") || out.String() != want {
			t.Errorf("%q: %v, %q", line, asked, &out)
		}
	}
}
