package ocf

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMetaDataIsGolden(t *testing.T) {
	golden := filepath.Join("testdata", "meta-data.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(MetaData()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != MetaData() {
		t.Errorf("the meta-data changed (%v): users see it, so look at the difference, then run with -update", err)
	}
}

// Both descriptions of the format must accept it: Pacemaker's OCF 1.1 schema, and the
// 1.0 DTD that ocf-tester uses, in the way in which it does that. They are looked for where
// their packages install them; OCF_SCHEMA_ROOT names another root directory.
func TestMetaDataIsValid(t *testing.T) {
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed")
	}
	for name, c := range map[string]struct {
		schema string
		args   []string
	}{
		"OCF 1.1":    {"/usr/share/pacemaker/api/ocf-ra-1.1.rng", []string{"--relaxng", "ocf-ra-1.1.rng"}},
		"ocf-tester": {"/usr/share/resource-agents/ra-api-1.dtd", []string{"--valid"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(os.Getenv("OCF_SCHEMA_ROOT"), c.schema)
			if _, err := os.Stat(path); err != nil {
				t.Skip("not installed: " + path)
			}
			cmd := exec.CommandContext(t.Context(), xmllint, append([]string{"--noout", "--nonet"}, append(c.args, "-")...)...)
			cmd.Dir = filepath.Dir(path)
			cmd.Stdin = strings.NewReader(MetaData())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
