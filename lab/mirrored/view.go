package mirrored

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmferry/vmferry/lab/guest/disk"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/migrate/mirror"
)

// View looks at the nodes' own files from outside, whether the nodes are up or not. Dir is the lab's folder.
type View struct{ Dir string }

// File is a node's own file as this process sees it.
func (v View) File(node, path string) string {
	return filepath.Join(v.Dir, "nodes", node, "upper", path)
}

// Has reports whether a node has a file of its own.
func (v View) Has(node, path string) bool {
	_, err := os.Stat(v.File(node, path))
	return err == nil
}

// Manifest is what a node knows of a guest; nil where it knows nothing.
func (v View) Manifest(node, uuid string) (*mirror.Manifest, error) {
	text, err := os.ReadFile(v.File(node, mirror.Store{Dir: mirror.DefaultDir}.Path(uuid)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := mirror.Parse(text)
	return &m, err
}

// Ledger reads the ledger on an image of a node.
func (v View) Ledger(node, image string) (ledger.Scan, error) {
	f, err := os.Open(v.File(node, image))
	if err != nil {
		return ledger.Scan{}, err
	}
	defer f.Close()
	view, err := disk.Guest(f)
	if err != nil {
		return ledger.Scan{}, err
	}
	return ledger.Read(view, 1)
}
