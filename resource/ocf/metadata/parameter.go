package metadata

import (
	_ "embed"
	"go/doc/comment"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// Parameter is one parameter of the resource.
type Parameter struct {
	Name       string
	Kind       Kind
	Unit       string   // of a Number, in the plural
	Words      []string // of a Choice
	Use        Use
	Default    string // as an operator would write it
	NoDefault  bool   // unset is a value of its own, which the long text explains
	Restart    bool   // a change restarts the guest; all else is reloaded
	Unique     bool   // no two resources may have the same value
	Deprecated string // why, and what to do
	Short      string
}

//go:embed parameters.txt
var texts string

// Long describes the parameter in at most eight lines; the manual page has the rest.
func (p Parameter) Long() string {
	_, text, _ := strings.Cut(texts, "\n["+p.Name+"]\n")
	text, _, _ = strings.Cut(text, "\n\n")
	if before, after, found := strings.Cut(text, "{rungs}"); found {
		for _, s := range ladder.Specs {
			before += string(s.Name) + " " + s.Text + " "
		}
		wrap := comment.Printer{TextWidth: 120}
		text = string(wrap.Text(new(comment.Parser).Parse(before + after)))
	}
	return strings.TrimSuffix(text, "\n")
}

// Kind is how a parameter is written.
type Kind int

// The kinds of parameters.
const (
	Text      Kind = iota // checked by what reads it
	Boolean               // the words of ocf_is_true
	Number                // whole, from 0, in a unit; 0 stands for the default
	Integer               // whole, may be negative
	Port                  // of TCP, from 1
	Choice                // one of Words
	Path                  // absolute
	Paths                 // absolute, with white space between
	URI                   // with %n for the other node
	HostPorts             // HOST:PORT, with commas or white space between
)

// Use is what a parameter is for: it decides which actions cannot do without a usable value.
type Use int

// The uses of parameters.
const (
	Always Use = iota // to find the guest, which every action does
	Guest             // to bring it up, to keep it, or to end it
	Move              // to move it to another node, and nothing else
)

// Parameters are all that the agent knows, in the order of the manual page.
func Parameters() []Parameter { return slices.Concat(virtualDomain, xen, own) }

// Lookup finds a parameter by its name.
func Lookup(name string) (Parameter, bool) {
	for _, table := range [][]Parameter{virtualDomain, xen, own} {
		if i := slices.IndexFunc(table, func(p Parameter) bool { return p.Name == name }); i >= 0 {
			return table[i], true
		}
	}
	return Parameter{}, false
}

// IsNeeded reports whether an action fails where a parameter of this use has a value that cannot be used. A stop must
// not fail, and a guest must not count as failed, because of a typing error in a parameter that only matters for the
// next start; and a guest must not be kept from running on every node because of one that only matters for a move.
func (u Use) IsNeeded(action string) bool {
	switch action {
	case "stop", "monitor", "status":
		return u == Always
	case "start", "migrate_from", "reload-agent":
		return u != Move
	}
	return true
}
