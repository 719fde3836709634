package resource

import (
	"cmp"
	"context"
	"errors"
	"strings"
)

// parseXL reads a guest's name and UUID out of an xl or xm configuration without libvirt: a
// stop needs them on the day on which libvirt is dead. Both are plain assignments,
// such as name = "vm1"; what is computed is left alone, and name is then empty.
func parseXL(text string) domain {
	d := domain{text: text, native: true}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		switch strings.TrimSpace(key) {
		case "name":
			d.Name = xlString(value)
		case "uuid":
			d.UUID, _ = parseUUID(xlString(value)) // libvirt refuses another one
		}
	}
	if !validName(d.Name) || strings.ContainsAny(d.Name, "% \t") {
		d.Name = "" // an expression of xm's Python
	}
	return d
}

// xlString is a quoted string, or a bare word as older tools took it, up to a comment.
func xlString(value string) string {
	value = strings.TrimSpace(value)
	if value == "" {
		return ""
	}
	if quote := value[0]; quote == '"' || quote == '\'' {
		text, rest, closed := strings.Cut(value[1:], string(quote))
		if rest = strings.TrimLeft(rest, " \t\r\n;"); !closed || rest != "" && rest[0] != '#' {
			return "" // "vm" + str(n)
		}
		return text
	}
	word, _, _ := strings.Cut(value, "#")
	return strings.TrimSpace(strings.TrimRight(strings.TrimSpace(word), ";"))
}

// readGuest reads the file that describes the guest, in either format. What the parameters
// say about the name of an xl configuration's guest goes before the file, and the
// resource's id stands in where neither says one, as with the Xen agent.
func (a *run) readGuest(ctx context.Context) (domain, error) {
	path, read := a.Params.File(), a.readFile
	if read == nil {
		read = readConfig
	}
	ctx, cancel := within(ctx, storageTime)
	defer cancel()
	raw, err := timelyValue(ctx, func() ([]byte, error) { return read(path) })
	if err != nil {
		return domain{}, err
	}
	if a.Params.XMFile == "" {
		return parseDomain(string(raw))
	}
	d := parseXL(string(raw))
	d.Name = cmp.Or(a.Params.Name, d.Name, a.Instance)
	if !validName(d.Name) {
		return domain{}, errNoXLName
	}
	return d, nil
}

var errNoXLName = errors.New("it has no plain name: write name = \"GUEST\", or set the parameter name")
