package guest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// modules is what a kernel offers: the path of every module below the modules
// directory, and for each path the paths it needs.
type modules struct {
	dir     string
	builtin map[string]bool
	path    map[string]string
	needs   map[string][]string
}

// readModules reads modules.dep and modules.builtin (see modules.dep(5)) of the
// directory …/lib/modules/VERSION.
func readModules(dir string) (modules, error) {
	m := modules{dir: dir, builtin: map[string]bool{}, path: map[string]string{}, needs: map[string][]string{}}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return modules{}, fmt.Errorf("read list of built-in modules: %w", err)
	}
	for _, p := range strings.Fields(string(builtin)) {
		m.builtin[moduleName(p)] = true
	}
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return modules{}, fmt.Errorf("read module dependencies: %w", err)
	}
	for line := range strings.Lines(string(dep)) {
		if p, needs, ok := strings.Cut(line, ":"); ok {
			m.path[moduleName(p)] = p
			m.needs[p] = strings.Fields(needs)
		}
	}
	return m, nil
}

// resolve returns the paths of names and of all they need, each once and after
// everything it needs, without what loaded holds already. It adds what it returns
// to loaded.
func (m modules) resolve(names []string, loaded map[string]bool) ([]string, error) {
	var order []string
	var add func(p string)
	add = func(p string) {
		if loaded[p] {
			return
		}
		loaded[p] = true
		for _, need := range m.needs[p] {
			add(need)
		}
		order = append(order, p)
	}
	for _, name := range names {
		p, ok := m.path[name]
		switch {
		case ok:
			add(p)
		case !m.builtin[name]:
			return nil, fmt.Errorf("kernel in %q has no module %q", m.dir, name)
		}
	}
	return order, nil
}

// moduleName turns kernel/drivers/char/hw_random/virtio-rng.ko.xz into
// virtio_rng, the name under which the kernel knows it.
func moduleName(p string) string {
	name, _, _ := strings.Cut(path.Base(p), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
