package resource

import (
	"context"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vmferry/vmferry/resource/ocf"
)

func TestGuestName(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.xml")
	for text, want := range map[string]string{
		guestXML:                                         "vm1",
		"<domain><name> web1 </name></domain>":           " web1 ",
		"<domain><name>\n web1\n</name></domain>":        "",
		"<domain><name>a</name></domain><domain/>":       "",
		"name = \"vm1\"\nmemory = 64\n":                  "",
		xml.Header + "<domain><name>a</name></domain>\n": "a",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := GuestName(file); got != want || (err == nil) != (want != "") {
			t.Errorf("GuestName = %q, %v of %q, want %q", got, err, text, want)
		}
	}
	if _, err := GuestName(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file that is not there has a name")
	}
}

// A guest is started so that its TPM outlives its end, from a file that is left as it is.
func TestStartKeepsTheTPM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		text := strings.Replace(guestXML, "</domain>",
			"<devices><tpm model='tpm-crb'><backend type='emulator'/></tpm></devices></domain>", 1)
		w.write("vm1.xml", text)
		w.create = func(_ context.Context, got string) error {
			if !strings.Contains(got, "persistent_state='yes'") {
				t.Errorf("started from %q", got)
			}
			w.boot()
			return nil
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
		w.gone()
		w.noted()
		nameless := strings.Replace(text, "<uuid>"+guestUUID+"</uuid>", "", 1)
		w.write("vm1.xml", nameless)
		w.create = func(_ context.Context, got string) error {
			if got != nameless {
				t.Errorf("started from %q, whose TPM nobody would find again", got)
			}
			w.boot()
			return nil
		}
		err, _ = w.run("start")
		checkExit(t, err, ocf.Success, "")
		text = nameless
		if after, err := os.ReadFile(w.agent.Params.Config); err != nil || string(after) != text {
			t.Errorf("the operator's file became %q, %v", after, err)
		}
	})
}

func TestLocalFirmware(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	text := func(backend string) string {
		return strings.Replace(guestXML, "</domain>", "<devices><tpm>"+backend+"</tpm></devices></domain>", 1)
	}
	for _, c := range []struct {
		name, text string
		ctx        context.Context
		want       int
	}{
		{"on a local disk", text("<backend type='emulator'><source type='dir' path='/proc/self/none'/></backend>"),
			t.Context(), 1},
		{"on storage without an answer", text("<backend type='emulator'/>"), ended, 0},
		{"deleted at each stop", text("<backend type='emulator' persistent_state='no'/>"), ended, 1},
		{"no TPM", guestXML, t.Context(), 0},
	} {
		if got := LocalFirmware(c.ctx, c.text); len(got) != c.want {
			t.Errorf("%s: %v, want %d", c.name, got, c.want)
		}
	}
}
