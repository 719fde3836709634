package witness

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pidFiles returns the names of the files NAME.pid that libvirt keeps, by the number in them. NAME is that of the
// guest whose QEMU it is; helpers beside QEMU have such files too, as ID-NAME-pr-helper0.pid
// (qemuProcessBuildPRHelperPidfilePath). The files of ended processes are common: they say nothing by themselves.
func (h Host) pidFiles() map[int][]string {
	files, err := filepath.Glob(filepath.Join(h.run(), "*.pid"))
	if err != nil {
		return nil
	}
	names := map[int][]string{}
	for _, file := range files {
		if pid, ok := readPID(file); ok {
			names[pid] = append(names[pid], strings.TrimSuffix(filepath.Base(file), ".pid"))
		}
	}
	return names
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
