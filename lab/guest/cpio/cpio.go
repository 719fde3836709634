package cpio

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// File types of an Entry's Mode, as in stat(2).
const (
	ModeDir     = 0o040000 // a directory
	ModeRegular = 0o100000 // a regular file
	ModeChar    = 0o020000 // a character device
	ModeLink    = 0o120000 // a symbolic link, its body is where to
)

// maxSize is the largest body that the eight hexadecimal digits of a newc
// header can announce.
const maxSize = 1<<32 - 1

const trailer = "TRAILER!!!"

// Entry describes one member of an archive.
type Entry struct {
	// Name is the path inside the archive, with neither a leading nor a
	// trailing slash ("dev/console").
	Name string
	// Mode is the file type (one of the Mode constants) and the permission
	// bits.
	Mode uint32
	// Major and Minor number the device when Mode is ModeChar; otherwise zero.
	Major, Minor uint32
}

// Writer writes a newc archive to an io.Writer. All members belong to root and
// carry the time zero, so that the same members give the same bytes. After the
// first error every call returns that error. Not safe for concurrent use.
type Writer struct {
	w     io.Writer
	inode uint32
	err   error
}

// NewWriter returns a Writer onto w. The caller ends the archive with Close and
// closes w himself.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write adds one member with its body, which must be empty for everything but
// regular files and links. Directories have to come before what they hold: the kernel
// creates members in the order of the archive.
func (w *Writer) Write(e Entry, body []byte) error {
	if w.err == nil {
		w.err = check(e, body)
	}
	if w.err == nil {
		w.put(e, body)
	}
	return w.err
}

// Close writes the trailer that ends the archive. It does not close the
// underlying writer. A Write after Close fails.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	w.put(Entry{Name: trailer}, nil)
	if w.err != nil {
		return w.err
	}
	w.err = errors.New("write to closed cpio archive")
	return nil
}

func check(e Entry, body []byte) error {
	switch kind := e.Mode &^ 0o7777; {
	case e.Name == "" || e.Name == trailer || strings.ContainsRune(e.Name, 0) ||
		strings.HasPrefix(e.Name, "/") || strings.HasSuffix(e.Name, "/"):
		return fmt.Errorf("add %q to cpio archive: not a relative path", e.Name)
	case kind != ModeDir && kind != ModeRegular && kind != ModeChar && kind != ModeLink:
		return fmt.Errorf("add %q to cpio archive: file type %#o is not supported", e.Name, kind)
	case (kind == ModeDir || kind == ModeChar) && len(body) > 0:
		return fmt.Errorf("add %q to cpio archive: only a regular file or a link has a body", e.Name)
	case kind == ModeLink && len(body) == 0:
		return fmt.Errorf("add %q to cpio archive: a link to nowhere", e.Name)
	case len(body) > maxSize:
		return fmt.Errorf("add %q to cpio archive: %d bytes are more than newc can hold", e.Name, len(body))
	}
	return nil
}

// put writes header, name and body, each padded to four bytes.
func (w *Writer) put(e Entry, body []byte) {
	w.inode++
	links := 1
	if e.Mode&^0o7777 == ModeDir {
		links = 2
	}
	// magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor
	// rdevminor namesize check
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		w.inode, e.Mode, 0, 0, links, 0, len(body), 0, 0, e.Major, e.Minor, len(e.Name)+1, 0, e.Name)
	for _, part := range [][]byte{[]byte(head), body} {
		w.raw(part)
		w.raw(make([]byte, -len(part)&3))
	}
}

func (w *Writer) raw(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = fmt.Errorf("write cpio archive: %w", err)
	}
}
