package guest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/lab/guest/cpio"
)

// What the game's initramfs has of a Debian tree, and where lab/guest/init finds it.
const (
	gameServer = "usr/games/teeworlds-server"
	gameMap    = "usr/share/games/teeworlds/data/maps/dm1.map"
	// libraries is where Debian's loader looks first for what a program needs.
	libraries = "lib/x86_64-linux-gnu"
)

// addGame adds Debian's teeworlds-server from the tree in the folder root: the program, the loader and the libraries
// that it needs, and one map.
func addGame(w *cpio.Writer, root string) error {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer tree.Close()
	loader, needed, err := gameNeeds(tree)
	if err != nil {
		return fmt.Errorf("game server in %q: %w", root, err)
	}
	files := []struct{ from, to string }{
		{gameServer, "game/server"}, {gameMap, "game/maps/" + path.Base(gameMap)}, {loader, loader},
	}
	for _, library := range needed {
		files = append(files, struct{ from, to string }{path.Join("usr", libraries, library),
			path.Join(libraries, library)})
	}
	for _, dir := range []string{"game", "game/maps", path.Dir(loader), path.Dir(libraries), libraries} {
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

// gameNeeds reads the server's loader, as a path without the leading slash, and the names of all libraries that it and
// they need.
func gameNeeds(tree *os.Root) (loader string, libs []string, err error) {
	loader, needed, err := readELF(tree, gameServer)
	if err != nil {
		return "", nil, err
	}
	if loader == "" {
		return "", nil, errors.New("the program names no loader")
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
