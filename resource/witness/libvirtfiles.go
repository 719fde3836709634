package witness

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// pidFilesSeen compares the scan with libvirt's pid files. A file that names a live
// process which the scan did not take for a guest means that the scan cannot
// be trusted; the files of ended processes are common and mean nothing.
func (h Host) pidFilesSeen(s sighting) error {
	files, err := filepath.Glob(filepath.Join(h.run(), "*.pid"))
	if err != nil || s.problem != nil {
		return s.problem
	}
	for _, file := range files {
		pid, ok := readPID(file)
		if !ok || s.has(pid) {
			continue
		}
		stat, err := h.stat(pid)
		if err == nil && !stat.dead() && isEmulator(stat.comm) {
			return fmt.Errorf("%w: %s names process %d, which was not recognised", ErrIncomplete, file, pid)
		}
	}
	return nil
}

// has tells whether the scan knows a process.
func (s sighting) has(pid int) bool {
	return slices.ContainsFunc(s.found, func(p Process) bool { return p.PID == pid }) ||
		slices.ContainsFunc(s.exiting, func(e exiting) bool { return e.pid == pid })
}

// readPID reads a pid file. An unreadable or malformed one is no evidence.
func readPID(file string) (int, bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	return pid, err == nil && pid > 0
}

// resumed tells whether libvirt noted that the guest runs in this very process.
// libvirt keeps NAME.xml beside the pid file and rewrites it at each change of state;
// QEMU's command line says -incoming for ever.
func (h Host) resumed(p Process) bool {
	if p.Name == "" || strings.ContainsRune(p.Name, '/') {
		return false
	}
	file, err := os.Open(filepath.Join(h.run(), p.Name+".xml"))
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	status, err := parseStatus(xml.NewDecoder(file))
	return err == nil && status.state == "running" && status.pid == p.PID
}

// domStatus is the head of libvirt's status file:
// <domstatus state='running' reason='booted' pid='4711'>.
type domStatus struct {
	state string
	pid   int
}

func parseStatus(d *xml.Decoder) (domStatus, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return domStatus{}, err
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if element.Name.Local != "domstatus" {
			return domStatus{}, fmt.Errorf("status file begins with %q", element.Name.Local)
		}
		var s domStatus
		for _, a := range element.Attr {
			switch a.Name.Local {
			case "state":
				s.state = a.Value
			case "pid":
				s.pid, err = strconv.Atoi(a.Value)
			}
		}
		return s, err
	}
}
