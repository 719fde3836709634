package cib

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// tree is one element of a document, with everything below it in the order of the document.
type tree struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Nodes   []*tree    `xml:",any"`
	Text    string     `xml:",chardata"`
}

// parse reads one document, whose root must be one of the names.
func parse(r io.Reader, names ...string) (*tree, error) {
	var doc tree
	err := xml.NewDecoder(r).Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty: it was cut short")
	}
	if err != nil {
		return nil, err
	}
	if slices.Contains(names, doc.name()) {
		return &doc, nil
	}
	return nil, fmt.Errorf("the document is <%s>, not <%s>", doc.name(), strings.Join(names, "> or <"))
}

func (t *tree) name() string { return t.XMLName.Local }

func (t *tree) attr(name string) string {
	for _, a := range t.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// is reads one of crm_mon's booleans.
func (t *tree) is(name string) bool { return t.attr(name) == "true" }

// all are the children of that name.
func (t *tree) all(name string) []*tree {
	var out []*tree
	for _, n := range t.Nodes {
		if n.name() == name {
			out = append(out, n)
		}
	}
	return out
}

// at goes down one child of each name; where there is none, it is an element that has nothing.
func (t *tree) at(names ...string) *tree {
	for _, name := range names {
		all := t.all(name)
		if len(all) == 0 {
			return &tree{}
		}
		t = all[0]
	}
	return t
}

// each calls f for t and all that is below it, outer elements first.
func (t *tree) each(f func(*tree)) {
	f(t)
	for _, n := range t.Nodes {
		n.each(f)
	}
}
