package ocf

import (
	"io"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/version"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

// IsAction reports whether the agent has an action of this name that looks at a guest.
func IsAction(action string) bool { return slices.Contains(actions(), action) }

func actions() (names []string) {
	for _, a := range metadata.Actions {
		if !a.Plain {
			names = append(names, a.Name)
		}
	}
	return names
}

// Names lists all that the agent may be called with, in one line.
func Names() string { return strings.Join(actions(), ", ") + ", meta-data or usage" }

func usage() string {
	return `usage: vmferry-agent ACTION

The resource agent ocf:vmferry:Domain, run by the cluster manager, which passes the
resource's parameters as OCF_RESKEY_* variables. ACTION is one of
` + Names() + `.
By hand: OCF_RESKEY_config=/etc/libvirt/qemu/vm1.xml vmferry-agent monitor; echo $?
`
}

// Plain answers what needs no look at a guest: meta-data, usage, and what is no call at
// all. It opens nothing. done is false where args are an action: the code is then not to be used.
func Plain(args, environ []string, stdout, stderr io.Writer) (code ExitCode, done bool) {
	if len(args) != 1 {
		_, _ = io.WriteString(stderr, usage())
		return Args, true
	}
	switch action := args[0]; {
	case action == "meta-data":
		_, _ = io.WriteString(stdout, metadata.XML())
	case action == "--version":
		_, _ = io.WriteString(stdout, "vmferry-agent "+version.String()+"\n")
	case slices.Contains([]string{"usage", "help", "-h", "--help"}, action):
		_, _ = io.WriteString(stdout, usage())
	case !IsAction(action):
		Report(stderr, environ, `unknown action "`+action+`": use `+Names())
		return Unimplemented, true
	default:
		return Success, false
	}
	return Success, true
}

// Report writes the exit reason, which Pacemaker shows with the failed action, and nothing
// when there is none. It is one line whatever libvirt's message had.
func Report(stderr io.Writer, environ []string, reason string) {
	if reason == "" {
		return
	}
	prefix := Variable(environ, "OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:")
	_, _ = io.WriteString(stderr, prefix+OneLine(reason)+"\n")
}

// OneLine puts the words of a text on one line that is safe to print; see [plaintext.Line].
func OneLine(text string) string { return plaintext.Line(text) }

// Variable is the value of an environment variable in a list of NAME=VALUE, or fallback
// where it is unset or empty.
func Variable(environ []string, name, fallback string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok && value != "" {
			return value
		}
	}
	return fallback
}
