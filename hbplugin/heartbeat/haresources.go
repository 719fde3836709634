package heartbeat

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	// Script is the name of vmferry's resource script in haresources.
	Script = "vmferry"
	// ConfigDir is where the XML of a guest is that is given by name.
	ConfigDir = "/etc/libvirt/qemu"

	extension = ".xml"
	separator = "::" // between a script and its arguments
)

// Entry is a guest of haresources.
type Entry struct {
	Name  string // as [Name] has it
	Node  string // the node that its line begins with, in lower case as Heartbeat has it
	Stuck string // not empty: why Heartbeat will never start or stop it
	// Params are the parameters that follow it, vmferry::GUEST::NAME=VALUE, with the path of its XML as "config".
	Params map[string]string
}

// ConfigFile is the path of a guest's XML, from the first argument of the
// resource script: that path itself, or a name for ConfigDir/NAME.xml.
func ConfigFile(arg string) (string, error) {
	switch {
	case arg == "":
		return "", errors.New("no guest is named: write vmferry::NAME or vmferry::/path/to/NAME.xml")
	case filepath.IsAbs(arg):
		return filepath.Clean(arg), nil
	case strings.ContainsAny(arg, "/=") || arg == "." || arg == "..":
		return "", fmt.Errorf("%q is neither a guest's name nor an absolute path: write vmferry::NAME or "+
			"vmferry::/path/to/NAME.xml first, then its parameters", arg)
	}
	return filepath.Join(ConfigDir, arg+extension), nil
}

// Name is what a guest is called in messages and notes, from the path of its
// XML: NAME for a file in ConfigDir, and else the path, which alone is unique.
func Name(config string) string {
	dir, file := filepath.Split(config)
	if name, ok := strings.CutSuffix(file, extension); ok && filepath.Clean(dir) == ConfigDir && name != "" {
		return name
	}
	return config
}

// ParseHaresources finds the guests in the text of a haresources file, in
// their order and each once. It reads as Heartbeat's ResourceManager does: a
// comment ends the line that it stands on, a backslash at the end of a line
// joins the next, and the first word is the node. A resource that names no
// guest is none; the script refuses it.
func ParseHaresources(text string) []Entry {
	var entries []Entry
	for _, line := range logicalLines(text) {
		words := strings.FieldsFunc(line, isBlank)
		if len(words) < 2 {
			continue
		}
		words[0] = strings.ToLower(words[0])
		stuck := unreachable(words)
		for _, resource := range words[1:] {
			params, ok := guest(resource)
			name := Name(params["config"])
			known := func(e Entry) bool { return e.Name == name }
			if ok && !slices.ContainsFunc(entries, known) {
				entries = append(entries, Entry{Name: name, Node: words[0], Stuck: stuck, Params: params})
			}
		}
	}
	return entries
}

// Others are the resources in the text of a haresources file that are no guests, such as IPaddr::192.0.2.9, each once.
func Others(text string) (others []string) {
	for _, line := range logicalLines(text) {
		words := strings.FieldsFunc(line, isBlank)
		for _, resource := range words[min(1, len(words)):] {
			if _, ok := guest(resource); !ok && !slices.Contains(others, resource) {
				others = append(others, resource)
			}
		}
	}
	return others
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// logicalLines cuts comments and joins lines, in the order in which
// ResourceManager does it: a line that was joined keeps its comment.
func logicalLines(text string) []string {
	var lines []string
	joined, open := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !open {
			line, _, _ = strings.Cut(line, "#")
		}
		line, open = strings.CutSuffix(line, `\`)
		joined += line
		if !open {
			lines = append(lines, joined)
			joined = ""
		}
	}
	if open {
		lines = append(lines, joined)
	}
	return lines
}

// guest reads the parameters of the guest that a resource stands for.
func guest(resource string) (params map[string]string, ok bool) {
	script, args, _ := strings.Cut(resource, separator)
	words := strings.Split(args, separator)
	config, err := ConfigFile(words[0])
	if script != Script || err != nil {
		return nil, false
	}
	params = map[string]string{"config": config}
	for _, word := range words[1:] {
		if name, value, ok := strings.Cut(word, "="); ok {
			params[name] = value
		}
	}
	return params, true
}

// unreachable says why Heartbeat does nothing with a line. It looks the line
// up by its first resource, taken for an extended regular expression: one like
// vmferry::vm1::remoteuri=qemu+ssh://%n/system does not match itself.
func unreachable(words []string) string {
	key, err := regexp.CompilePOSIX(" " + words[1] + " ")
	if err != nil || key.MatchString(strings.Join(words, " ")+" ") {
		return ""
	}
	return "haresources: Heartbeat cannot find its line, put another resource first"
}
