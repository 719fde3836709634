package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFollow(t *testing.T) {
	var steps []string
	complaint := follow(strings.NewReader("I: running apt-get update...\nW: old\nE: apt-get failed\ndone\n"),
		func(step string) { steps = append(steps, step) })
	if !slices.Equal(steps, []string{"running apt-get update..."}) {
		t.Errorf("steps %q", steps)
	}
	if complaint != "E: apt-get failed" {
		t.Errorf("complaint %q", complaint)
	}
	if got := follow(strings.NewReader("unshare: operation not permitted\n"),
		nil); got != "unshare: operation not permitted" {
		t.Errorf("complaint %q", got)
	}
}

func TestPruneKeepsTheNewImageAndOtherPeoplesFiles(t *testing.T) {
	cache := t.TempDir()
	for _, name := range []string{"node-old/usr", "node-new/usr", "node-new.part", "xen-old/usr", "other"} {
		if err := os.MkdirAll(filepath.Join(cache, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(cache, filepath.Join(cache, "node-new")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []string{"node-new", "other", "xen-old"}) {
		t.Errorf("left %q", left)
	}
}

func TestSweepKeepsWhatIsFinished(t *testing.T) {
	cache := t.TempDir()
	for _, name := range []string{"node-a.part/tree/usr", "xen-a.part/tree/usr", "node-b/usr"} {
		if err := os.MkdirAll(filepath.Join(cache, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(cache); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "node-b" {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestBuildTakesWhatIsThere(t *testing.T) {
	cache := t.TempDir()
	if err := os.MkdirAll(Node().Path(cache), 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := Node().Build(t.Context(), cache, func(step string) { t.Errorf("built: %s", step) })
	if err != nil || path != Node().Path(cache) {
		t.Errorf("got %q, %v", path, err)
	}
}

func TestKernel(t *testing.T) {
	tree := t.TempDir()
	if _, _, err := Kernel(tree); err == nil {
		t.Error("found a kernel in an empty tree")
	}
	if err := os.MkdirAll(filepath.Join(tree, "boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "boot/vmlinuz-6.12.1-amd64"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	kernel, modules, err := Kernel(tree)
	if err != nil || filepath.Base(kernel) != "vmlinuz-6.12.1-amd64" || filepath.Base(modules) != "6.12.1-amd64" {
		t.Errorf("got %q, %q, %v", kernel, modules, err)
	}
}
