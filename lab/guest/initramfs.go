package guest

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vmferry/vmferry/lab/guest/cpio"
)

// AddSkeleton adds the mount points, and the two devices that process 1 needs
// before it has mounted devtmpfs over them.
func AddSkeleton(w *cpio.Writer) error {
	for _, e := range []cpio.Entry{
		{Name: "dev", Mode: cpio.ModeDir | 0o755},
		{Name: "dev/console", Mode: cpio.ModeChar | 0o600, Major: 5, Minor: 1},
		{Name: "dev/null", Mode: cpio.ModeChar | 0o666, Major: 1, Minor: 3},
		{Name: "proc", Mode: cpio.ModeDir | 0o555},
		{Name: "sys", Mode: cpio.ModeDir | 0o555},
		{Name: "modules", Mode: cpio.ModeDir | 0o755},
	} {
		if err := w.Write(e, nil); err != nil {
			return err
		}
	}
	return nil
}

// ModuleList is an ordered list of modules in an initramfs.
type ModuleList struct {
	File    string   // in the archive: a path of each module, one a line, each after all that it needs
	Modules []string // names, without what they need; what the kernel has built in may be among them
}

// AddModules adds modules of the kernel whose folder …/lib/modules/VERSION is dir, unpacked, and the
// lists in which order to load them. A module is in the first list that needs it. It runs xz or zstd
// and ends with ctx.
func AddModules(ctx context.Context, w *cpio.Writer, dir string, lists []ModuleList) error {
	m, err := readModules(dir)
	if err != nil {
		return err
	}
	loaded := map[string]bool{}
	for _, list := range lists {
		order, err := m.resolve(list.Modules, loaded)
		if err != nil {
			return err
		}
		var text strings.Builder
		for _, p := range order {
			name := "modules/" + moduleName(p) + ".ko"
			fmt.Fprintf(&text, "/%s\n", name)
			if err := addModule(ctx, w, name, filepath.Join(dir, p)); err != nil {
				return err
			}
		}
		err = w.Write(cpio.Entry{Name: list.File, Mode: cpio.ModeRegular | 0o644}, []byte(text.String()))
		if err != nil {
			return err
		}
	}
	return nil
}

func addModule(ctx context.Context, w *cpio.Writer, name, from string) error {
	body, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	switch path.Ext(from) {
	case ".xz":
		body, err = unpack(ctx, "xz", body)
	case ".zst":
		body, err = unpack(ctx, "zstd", body)
	}
	if err != nil {
		return fmt.Errorf("module %q: %w", from, err)
	}
	return w.Write(cpio.Entry{Name: name, Mode: cpio.ModeRegular | 0o644}, body)
}
