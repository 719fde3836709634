package verdict

import (
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Words is a verdict in one line that follows the guest's name, such as "is restarted on n2 because its ladder does not
// name live". The remedy is not in it.
func Words(v hbplugin.Verdict) string {
	text := map[hbplugin.Fate]string{
		hbplugin.MovesLive: "moves live", hbplugin.MovesWith: "moves", hbplugin.Restarts: "is restarted",
		hbplugin.Stops: "is stopped and has no place", hbplugin.Stays: "stays",
	}[v.Fate]
	switch {
	case text == "" && v.Why == "":
		return "cannot tell"
	case text == "":
		return "cannot tell: " + Line(v.Why)
	case v.Fate.KeepsRunning() && v.To != "":
		text += " to " + v.To
	case v.Fate == hbplugin.Restarts && v.To != "":
		text += " on " + v.To
	case v.Fate == hbplugin.Restarts:
		text += " elsewhere"
	}
	if len(v.With) > 0 && (v.Fate.KeepsRunning() || v.Fate == hbplugin.Restarts) {
		text += " with: " + Line(strings.Join(v.With, "; "))
	}
	if v.Why != "" && !v.Fate.KeepsRunning() {
		text += " because " + Line(v.Why)
	}
	return text
}

// ByHand is what moves a guest that no manager moves.
func ByHand(name string) string {
	return "before the node goes down, type: vmferry migrate " + shellword.Operands(name, "NODE")
}

// Fields are those of a verdict in a log.
func Fields(v hbplugin.Verdict) logrus.Fields {
	fields := logrus.Fields{"guest": v.Resource}
	for name, text := range map[string]string{"verdict": string(v.Fate), "why": v.Why, "remedy": v.Remedy} {
		if text != "" {
			fields[name] = text
		}
	}
	return fields
}

// Past is a fate that a guest has met, in words.
func Past(f hbplugin.Fate) string {
	switch f {
	case hbplugin.MovesLive, hbplugin.MovesWith:
		return "moved live"
	case hbplugin.Stays:
		return "stayed"
	}
	return string(f)
}

// Line takes the line breaks out of what somebody else has written.
func Line(text string) string {
	isBreak := func(r rune) bool { return r == '\n' || r == '\r' }
	return strings.Join(strings.FieldsFunc(text, isBreak), "; ")
}

// OneLine is an error without the line breaks that joined errors have.
func OneLine(err error) string { return Line(strings.TrimSpace(err.Error())) }

// Count is a number with its noun.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
