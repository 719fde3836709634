package metadata

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/version"
)

var update = flag.Bool("update", false, "write the golden files")

func TestXMLIsGolden(t *testing.T) {
	golden := filepath.Join("testdata", "meta-data.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(render("0.0.0")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != render("0.0.0") {
		t.Errorf("the meta-data changed (%v): users see it, so look at the difference, then run with -update", err)
	}
}

func TestXMLHasTheProgramsVersion(t *testing.T) {
	if !strings.Contains(XML(), `<resource-agent name="Domain" version="`+escape(version.String())+`">`) {
		t.Errorf("the meta-data does not have the version %q", version.String())
	}
}

// Pacemaker's controller logs a failed assertion for each declaration that a text brings along,
// and its tools abort on them.
func TestXMLDeclaresNothing(t *testing.T) {
	if strings.Contains(XML(), "<!ATTLIST") || strings.Contains(XML(), "<!ELEMENT") || strings.Contains(XML(), "<!ENTITY") {
		t.Error("the meta-data has an internal DTD subset")
	}
}

// Both descriptions of OCF 1.1 must accept it: Pacemaker's schema, which is looked for where its
// package installs it (OCF_SCHEMA_ROOT names another root directory), and the DTD with which
// ocf-tester will validate.
func TestXMLIsValid(t *testing.T) {
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed")
	}
	for _, c := range []struct{ name, flag, schema string }{
		{"schema", "--relaxng", filepath.Join(os.Getenv("OCF_SCHEMA_ROOT"), "/usr/share/pacemaker/api/ocf-ra-1.1.rng")},
		{"DTD", "--dtdvalid", "ra-api-1.1.dtd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat(c.schema); err != nil {
				t.Skip("not installed: " + c.schema)
			}
			cmd := exec.CommandContext(t.Context(), xmllint, "--noout", "--nonet", c.flag, c.schema, "-")
			cmd.Stdin = strings.NewReader(XML())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
