package cpio

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func archive(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, m := range []struct {
		Entry
		body string
	}{
		{Entry{Name: "dev", Mode: ModeDir | 0o755}, ""},
		{Entry{Name: "dev/console", Mode: ModeChar | 0o600, Major: 5, Minor: 1}, ""},
		{Entry{Name: "init", Mode: ModeRegular | 0o755}, "hello"},
		{Entry{Name: "empty", Mode: ModeRegular | 0o644}, ""},
		{Entry{Name: "start", Mode: ModeLink | 0o777}, "/init"},
	} {
		if err := w.Write(m.Entry, []byte(m.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestHeader(t *testing.T) {
	out := archive(t)
	const want = "07070100000001000041ED0000000000000000000000020000000000000000" +
		"0000000000000000000000000000000000000004000000" + "00dev\x00"
	if got := string(out[:114]); got != want {
		t.Errorf("first member:\n got %q\nwant %q", got, want)
	}
	if len(out)%4 != 0 {
		t.Errorf("archive of %d bytes is not padded", len(out))
	}
	if i := bytes.Index(out, []byte("init\x00")); (i-110)%4 != 0 {
		t.Errorf("member starts at unaligned offset %d", i-110)
	}
	if !bytes.Contains(out, []byte(trailer)) {
		t.Error("no trailer")
	}
}

// TestListedByCpio lets another implementation read the archive.
func TestListedByCpio(t *testing.T) {
	path, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, "-itv", "--quiet")
	cmd.Stdin = bytes.NewReader(archive(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for _, want := range []string{"drwxr-xr-x", "crw-------", "5,   1", "dev/console", "-rwxr-xr-x", "5 Jan", "init",
		"empty", "start -> /init"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("listing has no %q:\n%s", want, out)
		}
	}
}

func TestRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		entry Entry
		body  string
		want  string
	}{
		{"absolute", Entry{Name: "/init", Mode: ModeRegular}, "", "not a relative path"},
		{"empty", Entry{Mode: ModeRegular}, "", "not a relative path"},
		{"trailing slash", Entry{Name: "dev/", Mode: ModeDir}, "", "not a relative path"},
		{"trailer", Entry{Name: trailer, Mode: ModeRegular}, "", "not a relative path"},
		{"socket", Entry{Name: "a", Mode: 0o140777}, "", "file type 0140000"},
		{"link to nowhere", Entry{Name: "a", Mode: ModeLink}, "", "to nowhere"},
		{"directory with body", Entry{Name: "a", Mode: ModeDir}, "x", "only a regular file or a link"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := NewWriter(&bytes.Buffer{}).Write(test.entry, []byte(test.body))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestErrorSticks(t *testing.T) {
	full := errors.New("disk full")
	w := NewWriter(brokenWriter{full})
	if err := w.Write(Entry{Name: "a", Mode: ModeRegular}, nil); !errors.Is(err, full) {
		t.Errorf("write: got %v", err)
	}
	if err := w.Close(); !errors.Is(err, full) {
		t.Errorf("close: got %v", err)
	}
}

func TestWriteAfterClose(t *testing.T) {
	w := NewWriter(&bytes.Buffer{})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Entry{Name: "a", Mode: ModeRegular}, nil); err == nil {
		t.Error("a member was added after the trailer")
	}
}
