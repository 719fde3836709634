package check

import "github.com/vmferry/vmferry/hbplugin"

// rule adds what it finds. The check's name is the table's to add.
type rule func(o *Observed, f *findings)

// rules are in the order of the answer.
var rules = []struct {
	check string
	judge rule
}{
	{"libvirt", libvirts},
	{"manager", clusterManagers},
	{"peers", peers},
	{"reach", reach},
	{"fencing", fencing},
	{"detection", detection},
	{"guard", guard},
	{"resource", resources},
	{"encryption", encryption},
	{"certificates", certificates},
	{"guest", guests},
	{"firmware", firmware},
	{"mirror", mirrors},
	{"clock", clocks},
	{"autostart", autostart},
	{"guest", strays},
	{"vmferryd", daemon},
	{"window", window},
	{"order", order},
}

// Judge says what was found to be in order, and what not.
func Judge(o *Observed) []Finding {
	var all []Finding
	for _, r := range rules {
		var found findings
		r.judge(o, &found)
		for _, f := range found {
			f.Check = r.check
			all = append(all, f)
		}
	}
	return all
}

// Grade is how a check came out.
type Grade string

// The grades. A problem keeps the node from being drained, or puts a guest at
// risk when it is; a warning does not.
const (
	OK      Grade = "ok"
	Warning Grade = "warning"
	Problem Grade = "problem"
)

// Finding is one line of the answer.
type Finding struct {
	Check  string `json:"check"`            // what was looked at
	About  string `json:"about,omitempty"`  // which guest, node or service
	Grade  Grade  `json:"grade"`            // ok, warning or problem
	Found  string `json:"found"`            // in words
	Remedy string `json:"remedy,omitempty"` // what to type, or to do
	// Verdict is what becomes of the guest that the check "guest" is about.
	Verdict *hbplugin.Verdict `json:"verdict,omitempty"`
}

// findings are those of one check; the name is added later.
type findings []Finding

func (f *findings) add(about string, g Grade, found, remedy string) {
	*f = append(*f, Finding{About: about, Grade: g, Found: found, Remedy: remedy})
}
