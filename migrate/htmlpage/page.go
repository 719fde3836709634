package htmlpage

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
)

//go:embed assets
var assets embed.FS

var (
	shell = template.Must(template.ParseFS(assets, "assets/shell.html"))
	base  = mustRead(assets, "assets/base.css")
)

// Layout is one kind of page.
type Layout struct {
	page   *template.Template
	style  template.CSS
	script template.JS
}

// Page is one page of a layout.
type Page struct {
	Title string
	Lead  []string // lines below the title
	// Note is in the corner, and NoteTitle is what a pointer on it shows.
	Note, NoteTitle string
	Body            any // what the layout's body shows
	Data            any // what its script reads, as the JSON of the element "data"
}

// New makes a layout of the files of a folder: page.html, the body, and where
// they are there page.css and page.js. It panics where they cannot be parsed.
func New(files fs.FS, dir string, funcs template.FuncMap) *Layout {
	files, err := fs.Sub(files, dir)
	if err != nil {
		panic(err)
	}
	page := template.Must(shell.Clone())
	template.Must(page.New("body").Funcs(funcs).Parse(mustRead(files, "page.html")))
	return &Layout{page, template.CSS(base + mustRead(files, "page.css")), template.JS(mustRead(files, "page.js"))}
}

// mustRead reads an embedded file, "" where it is not there.
func mustRead(files fs.FS, name string) string {
	text, err := fs.ReadFile(files, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err)
	}
	return string(text)
}

// Write writes a page.
func (l *Layout) Write(w io.Writer, p Page) error {
	err := l.page.ExecuteTemplate(w, "shell.html", struct {
		Page
		Style  template.CSS
		Script template.JS
	}{p, l.style, l.script})
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
