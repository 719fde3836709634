package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vdc")
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		err := await(path, 30*time.Second)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begun); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("it waited %v", took)
		}
		go func() {
			time.Sleep(time.Second)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Error(err)
			}
		}()
		if err := await(path, 30*time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatGoesWrongNamesTheThing(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "made", "too")
	err := mountAll([]mount{{"/dev/vda", target, "nosuchfs", 0, ""}})
	if err == nil || !strings.Contains(err.Error(), target) || !strings.Contains(err.Error(), "/dev/vda") {
		t.Errorf("mount: %v", err)
	}
	if _, err := os.Stat(target); err != nil {
		t.Errorf("the mount point was not made: %v", err)
	}
	module := filepath.Join(dir, "none.ko")
	if err := load(module); err == nil || !strings.Contains(err.Error(), module) {
		t.Errorf("load what is not there: %v", err)
	}
	if err := os.WriteFile(module, []byte("no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := load(module); err == nil || !strings.Contains(err.Error(), module) {
		t.Errorf("load what is no module: %v", err)
	}
}

// The root's layers are those of a node that is a container: the node's own over the product
// over the image, of which only the first is written to.
func TestLayers(t *testing.T) {
	last := layers[len(layers)-1]
	if last.target != root || last.options != "lowerdir=/product:/image,upperdir=/state/upper,workdir=/state/work" {
		t.Errorf("got %+v", last)
	}
	for _, m := range layers[:2] {
		if m.flags&1 == 0 {
			t.Errorf("%s could be written to, and both machines have it", m.source)
		}
	}
}
