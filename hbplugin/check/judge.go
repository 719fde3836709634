package check

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
	{"resource", resources},
	{"encryption", encryption},
	{"certificates", certificates},
	{"guest", guests},
	{"firmware", firmware},
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
