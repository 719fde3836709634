package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/lab/guest/cpio"
)

// libraries is where Debian's loader looks first for what a program needs.
const libraries = "lib/x86_64-linux-gnu"

// file is one of a Debian tree, and where an initramfs has it.
type file struct{ from, to string }

// extra is what an initramfs has of a Debian tree beyond what all guests have: folders, each after the one that it is in,
// programs, with the loader and the libraries that these need, and files.
type extra struct {
	what     string
	folders  []string
	programs []file
	files    []file
}

// add adds it from the tree in the folder root.
func (x extra) add(w *cpio.Writer, root string) error {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer tree.Close()
	loader, needed, err := x.needs(tree)
	if err != nil {
		return fmt.Errorf("%s in %q: %w", x.what, root, err)
	}
	files := append(slices.Concat(x.programs, x.files), file{loader, loader})
	for _, library := range needed {
		files = append(files, file{path.Join("usr", libraries, library), path.Join(libraries, library)})
	}
	for _, dir := range append(slices.Clone(x.folders), path.Dir(loader), path.Dir(libraries), libraries) {
		if err := w.Write(cpio.Entry{Name: dir, Mode: cpio.ModeDir | 0o755}, nil); err != nil {
			return err
		}
	}
	for _, f := range files {
		body, err := tree.ReadFile(f.from)
		if err != nil {
			return err
		}
		if err := w.Write(cpio.Entry{Name: f.to, Mode: cpio.ModeRegular | 0o755}, body); err != nil {
			return err
		}
	}
	return nil
}

// needs reads the loader of the programs, as a path without the leading slash, and the names of all libraries that they
// and these need.
func (x extra) needs(tree *os.Root) (loader string, libs []string, err error) {
	var needed []string
	for _, p := range x.programs {
		own, more, err := readELF(tree, p.from)
		if err != nil {
			return "", nil, err
		}
		if own == "" || loader != "" && own != loader {
			return "", nil, fmt.Errorf("%q names the loader %q, want one for all programs", p.from, own)
		}
		loader, needed = own, append(needed, more...)
	}
	for len(needed) > 0 {
		name := needed[0]
		needed = needed[1:]
		if name == path.Base(loader) || slices.Contains(libs, name) {
			continue
		}
		libs = append(libs, name)
		_, more, err := readELF(tree, path.Join("usr", libraries, name))
		if err != nil {
			return "", nil, err
		}
		needed = append(needed, more...)
	}
	return loader, libs, nil
}

// readELF returns the loader (PT_INTERP) that a program names, and the libraries (DT_NEEDED) that a file needs.
func readELF(tree *os.Root, name string) (loader string, needed []string, err error) {
	f, err := tree.Open(name)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return "", nil, fmt.Errorf("%q: %w", name, err)
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz == 0 || p.Filesz > 4096 {
			continue
		}
		text := make([]byte, p.Filesz)
		if _, err := p.ReadAt(text, 0); err != nil {
			return "", nil, fmt.Errorf("%q: %w", name, err)
		}
		loader = strings.TrimPrefix(string(bytes.TrimRight(text, "\x00")), "/")
	}
	needed, err = e.ImportedLibraries()
	return loader, needed, err
}
