package xl

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/resource/hostproc"
)

// row is a line of xl list -v: name, number, memory, processors, state, time, UUID, and what this package has no use
// for. A name may have blanks in it, and the number and what follows may not.
//
// Source: list_domains of Xen's tools/xl/xl_info.c.
var row = regexp.MustCompile(`^(.*\S)\s+(\d+)\s+\d+\s+\d+\s+([r-][b-][p-][s-][-rscwS?][d-])\s+[0-9.]+\s+([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\s.*)?$`)

// nameless is printf's word for a name that is not there.
const nameless = "(null)"

// What xl puts behind a name while it moves the domain.
const (
	suffixIncoming = "--incoming"
	suffixAway     = "--migratedaway"
)

var errNoDom0 = errors.New("xl lists no Domain-0")

// parse reads a listing. It returns all domains but Domain-0, or an error: a line that is not understood may be
// any guest.
func parse(text string) ([]hostproc.Process, error) {
	var all []hostproc.Process
	dom0, header := false, true
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" {
			continue
		}
		if header {
			header = false
			if strings.HasPrefix(line, "Name ") && strings.Contains(line, "UUID") {
				continue
			}
			return nil, fmt.Errorf("xl's listing begins with %q", line)
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("xl lists %q", line)
		}
		id, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, fmt.Errorf("xl lists %q: %w", line, err)
		}
		if id == 0 {
			dom0 = true
			continue
		}
		all = append(all, domain(id, m[1], m[3], m[4]))
	}
	if !dom0 {
		return nil, errNoDom0
	}
	return all, nil
}

// domain is one line. The state has a place for each of running, blocked, paused, shut down, why it was
// shut down, and dying; none of them is set for a domain that could run and does not this moment.
func domain(id int, name, state, uuid string) hostproc.Process {
	p := hostproc.Process{PID: id, Name: name, UUID: uuid, Domain: true, Condition: condition(state)}
	if name == nameless {
		p.Name = ""
	}
	// One that is being made is paused until all of it is there, whoever makes it.
	p.Incoming = strings.HasSuffix(name, suffixIncoming) || state[2] == 'p'
	if strings.HasSuffix(name, suffixAway) && p.Condition == hostproc.Alive {
		p.Condition = hostproc.Halted
	}
	return p
}

func condition(state string) hostproc.Condition {
	switch {
	case state[5] == 'd':
		return hostproc.Ending
	case state[3] != 's':
		return hostproc.Alive
	case state[4] == 's':
		return hostproc.Halted
	case state[4] == 'c', state[4] == 'w':
		return hostproc.Broken
	}
	return hostproc.Ending // it switched itself off, or reboots
}

// isCalled reports whether a domain's name is the guest's, as xl may have changed it.
func isCalled(domain, guest string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(domain, suffixIncoming), suffixAway)
	return guest != "" && (domain == guest || base == guest)
}

// match returns the domains of one guest: those of its UUID, else those of its name. Where the UUID is not known, a
// domain that has no name any more could be anybody's.
func match(all []hostproc.Process, name, uuid string) ([]hostproc.Process, error) {
	var byUUID, byName []hostproc.Process
	var doubt error
	for _, p := range all {
		switch {
		case uuid != "" && strings.EqualFold(p.UUID, uuid):
			byUUID = append(byUUID, p)
		case isCalled(p.Name, name):
			byName = append(byName, p)
		case p.Name == "" && uuid == "":
			doubt = fmt.Errorf("%w: domain %d has no name", hostproc.ErrIncomplete, p.PID)
		}
	}
	if len(byUUID) > 0 {
		return byUUID, nil
	}
	return byName, doubt
}
