package domainxml

import (
	"cmp"
	"errors"
	"strings"
)

// ParseXL reads an xl or xm configuration. The guest's name is preferred where that is not empty, else the file's, else
// fallback.
func ParseXL(text, preferred, fallback string) (Domain, error) {
	d := parseXL(text)
	if d.Name = cmp.Or(preferred, d.Name, fallback); !IsName(d.Name) {
		return Domain{}, errNoXLName
	}
	return d, nil
}

// parseXL reads a guest's name and UUID out of an xl or xm configuration without libvirt: a
// stop needs them on the day on which libvirt is dead. Both are plain assignments,
// such as name = "vm1"; what is computed is left alone, and name is then empty.
func parseXL(text string) Domain {
	d := Domain{Text: text, IsXL: true}
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
	if !IsName(d.Name) || strings.ContainsAny(d.Name, "% \t") {
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

var errNoXLName = errors.New("it has no plain name: write name = \"GUEST\", or set the parameter name")
