package htmlpage

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// evil tries to leave each place where a name is put.
const evil = `</script><script>alert("1")</script><b onload='x' & "y">`

// sample is a page whose names are all of an attacker.
func sample(t *testing.T, dir string) string {
	t.Helper()
	table := Table{Class: "numbers", Head: []string{evil, "ms"}}
	table.Add(evil, "12.5")
	table.Rows = append(table.Rows, Row{Class: "late", Cells: []Cell{{Text: evil, Class: "detail", Span: 2}}})
	var b bytes.Buffer
	err := New(os.DirFS("testdata"), dir, nil).Write(&b, Page{
		Title: evil, Lead: []string{evil, "two"}, Note: evil, NoteTitle: evil, Data: map[string]string{"name": evil},
		Body: map[string]any{"Words": evil, "Table": table, "Dots": Dots{Label: evil, Count: 2,
			List: []Dot{{0, 10, "late", evil}, {1, 40, "late", "b"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPage(t *testing.T) {
	got := sample(t, "page")
	if *update {
		if err := os.WriteFile("testdata/page.golden", []byte(withoutBase(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/page.golden")
	if err != nil {
		t.Fatal(err)
	}
	if withoutBase(got) != string(want) {
		t.Errorf("the page differs; run with -update if that is wanted. Got:\n%s", withoutBase(got))
	}
}

// withoutBase leaves out the style of all pages.
func withoutBase(page string) string { return strings.Replace(page, base, "", 1) }

// inner is what a script or style element holds; it is not markup.
var inner = regexp.MustCompile(`(?s)(<(?:script|style)[^>]*>).*?(</(?:script|style)>)`)

// outside matches whatever would make a browser load something.
var outside = regexp.MustCompile(`(?i)https?:|\bsrc\s*=|<link|@import|url\(|\bhref\s*=`)

func TestPageEscapesNamesAndLoadsNothing(t *testing.T) {
	page := sample(t, "page")
	if n := strings.Count(page, "<script"); n != 2 {
		t.Errorf("the page has %d scripts, want its own 2", n)
	}
	for _, bad := range []string{`alert("1")`, "<b onload", outside.FindString(page)} {
		if bad != "" && strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	d := xml.NewDecoder(strings.NewReader(inner.ReplaceAllString(page, "$1$2")))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
	}
}

// A page without a script may run none.
func TestPolicy(t *testing.T) {
	for name, want := range map[string]string{
		"page":  `content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"`,
		"plain": `content="default-src 'none'; style-src 'unsafe-inline'"`,
	} {
		files := fstest.MapFS{"plain/page.html": {Data: []byte("{{.}}")}, "page/page.html": {},
			"page/page.js": {Data: []byte("1")}}
		var b bytes.Buffer
		if err := New(files, name, nil).Write(&b, Page{Body: "text"}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: no %s in\n%s", name, want, b.String())
		}
	}
}

func TestDots(t *testing.T) {
	d := Dots{Count: 2, List: []Dot{{At: 0, Value: 10}, {At: 1, Value: 40}}}
	if x0, x1 := d.X(0), d.X(1); x0 != margin+205 || x1 != margin+615 {
		t.Errorf("at %v and %v", x0, x1)
	}
	if foot, top := d.Y(0), d.Y(40); foot != height-margin/2 || top != margin/2 {
		t.Errorf("0 at %v, the largest at %v", foot, top)
	}
	if s := d.Scale(); len(s) != 5 || s[4] != 40 {
		t.Errorf("scale %v", s)
	}
	if s := (Dots{}).Scale(); s[4] != 1 {
		t.Errorf("scale of nothing: %v", s)
	}
}
