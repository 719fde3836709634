package cib

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// StandbyID is the id of the attribute that [WithStandby] adds.
const StandbyID = "vmferry-forecast-standby"

// WithStandby returns a copy of a CIB as it is when the node is in standby by the transient attribute, whatever
// that attribute said before, and when all operations that are under way have succeeded: Pacemaker waits
// for these before it does anything new with their resources. All else stays, to the byte. It is an error where
// the document is no whole CIB, or where its status does not know the node.
func WithStandby(doc []byte, node string) ([]byte, error) {
	e := editor{doc: doc, node: node, decoder: xml.NewDecoder(bytes.NewReader(doc))}
	err := e.walk()
	if err == nil && e.place == "" {
		err = fmt.Errorf("its status does not know node %q", node)
	}
	if err != nil {
		return nil, fmt.Errorf("put node %q into standby in a copy of the CIB: %w", node, err)
	}
	return e.apply(), nil
}

// edit replaces the bytes from start to end.
type edit struct {
	start, end int
	text       string
}

// editor walks over a CIB and notes what to replace.
type editor struct {
	doc     []byte
	node    string
	decoder *xml.Decoder

	path  []string
	here  bool   // inside the state of the node
	place string // the innermost element that can take the attribute, of those seen
	add   edit   // puts the attribute there
	drop  int    // where the attribute begins that is to be left out; 0 for none
	depth int    // of that attribute
	edits []edit
}

func (e *editor) walk() error {
	for {
		start := int(e.decoder.InputOffset())
		token, err := e.decoder.Token()
		if errors.Is(err, io.EOF) {
			return e.whole()
		}
		if err != nil {
			return err
		}
		end := int(e.decoder.InputOffset())
		switch t := token.(type) {
		case xml.StartElement:
			e.open(t, start, end)
		case xml.EndElement:
			e.close(end)
		}
	}
}

func (e *editor) whole() error {
	if len(e.path) > 0 || e.decoder.InputOffset() == 0 {
		return errors.New("it was cut short")
	}
	return nil
}

func (e *editor) open(t xml.StartElement, start, end int) {
	name := t.Name.Local
	e.path = append(e.path, name)
	at := strings.Join(e.path, "/")
	value := func(name string) string { return (&tree{Attrs: t.Attr}).attr(name) }
	const state = "cib/status/node_state"
	switch {
	case at == state:
		e.here = value("uname") == e.node
		e.offer(at, start, end, name, `<transient_attributes id="`+escape(value("id"))+`">`+
			`<instance_attributes id="vmferry-forecast">`, "</instance_attributes></transient_attributes>")
	case at == state+"/transient_attributes":
		e.offer(at, start, end, name, `<instance_attributes id="vmferry-forecast">`, "</instance_attributes>")
	case at == state+"/transient_attributes/instance_attributes":
		e.offer(at, start, end, name, "", "")
	case at == state+"/transient_attributes/instance_attributes/nvpair" && e.here && value("name") == "standby":
		e.drop, e.depth = start, len(e.path)
	case name == "lrm_rsc_op" && strings.HasPrefix(at, state) && value("op-status") == "-1":
		e.edits = append(e.edits, edit{start, end, succeeded(t, e.selfClosing(end))})
	}
}

// offer notes that the attribute can go into the element that has just begun, with what must be around it. The
// innermost one wins; of two alike, the first.
func (e *editor) offer(at string, start, end int, name, before, after string) {
	if !e.here || len(at) <= len(e.place) {
		return
	}
	text := before + `<nvpair id="` + StandbyID + `" name="standby" value="on"/>` + after
	e.place, e.add = at, edit{end, end, text}
	if e.selfClosing(end) {
		e.add = edit{end - len("/>"), end, ">" + text + "</" + name + ">"}
	}
}

func (e *editor) selfClosing(end int) bool { return bytes.HasSuffix(e.doc[:end], []byte("/>")) }

func (e *editor) close(end int) {
	if e.drop > 0 && e.depth == len(e.path) {
		e.edits = append(e.edits, edit{e.drop, end, ""})
		e.drop = 0
	}
	e.path = e.path[:len(e.path)-1]
}

// succeeded is the start tag of an operation that is under way, as it is after its success. The exit code that is
// expected is the third part of the transition's key; a pending operation has no call-id, and becomes the last one.
func succeeded(t xml.StartElement, selfClosing bool) string {
	key := (&tree{Attrs: t.Attr}).attr("transition-key")
	expected := "0"
	if parts := strings.Split(key, ":"); len(parts) == 4 {
		expected = parts[2]
	}
	set := map[string]string{
		"op-status": "0", "rc-code": expected, "call-id": "2000000000", "transition-magic": "0:" + expected + ";" + key,
	}
	var b strings.Builder
	b.WriteString("<" + t.Name.Local)
	for _, a := range t.Attr {
		value, ok := set[a.Name.Local]
		if !ok {
			value = a.Value
		}
		b.WriteString(" " + a.Name.Local + `="` + escape(value) + `"`)
	}
	if selfClosing {
		b.WriteString("/")
	}
	return b.String() + ">"
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes all
	return b.String()
}

func (e *editor) apply() []byte {
	edits := append(e.edits, e.add)
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Or(a.start-b.start, a.end-b.end) })
	var out []byte
	at := 0
	for _, ed := range edits {
		out = append(append(out, e.doc[at:ed.start]...), ed.text...)
		at = ed.end
	}
	return append(out, e.doc[at:]...)
}
