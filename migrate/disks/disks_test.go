package disks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// image makes an image file in a folder of its own.
func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "web.img")
	touch(t, path)
	return path
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// beside lists what is in the image's folder.
func beside(t *testing.T, image string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(image))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimPrefix(e.Name(), "web.img"))
	}
	return names
}

func begin(t *testing.T, image string) *Transfer {
	t.Helper()
	l, err := Begin(image, Note{Guest: "web", UUID: "u", Peer: "node2"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func check(t *testing.T, image, words string) {
	t.Helper()
	err := Check(image)
	var stale *Stale
	switch {
	case words == "" && err != nil:
		t.Errorf("refused: %v", err)
	case words != "" && (!errors.As(err, &stale) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n")):
		t.Errorf("got %v, want one line with %q", err, words)
	}
}

// Each stage of a move, and what is left of it after a crash there.
func TestStages(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(*Transfer) error
		files []string
		words string // of the refusal to start; empty: it may be
	}{
		{"copying", (*Transfer).Close, []string{"", NoteSuffix}, ""},
		{"handing over", func(l *Transfer) error { return errors.Join(l.HandOver(), l.HandOver(), l.Close()) },
			[]string{"", NoteSuffix}, "was being handed over to node2"},
		{"left", func(l *Transfer) error { return errors.Join(l.HandOver(), l.Moved()) },
			[]string{NoteSuffix, OldSuffix}, "went with the guest to node2"},
		{"left, and nobody saw the copying end", (*Transfer).Moved, []string{NoteSuffix, OldSuffix}, "start the guest on node2"},
		{"stayed", (*Transfer).Stayed, []string{""}, ""},
		{"stayed after all", func(l *Transfer) error { return errors.Join(l.HandOver(), l.Stayed()) }, []string{""}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := image(t)
			must(t, c.do(begin(t, path)))
			if got := beside(t, path); !slices.Equal(got, c.files) {
				t.Errorf("left %q, want %q", got, c.files)
			}
			check(t, path, c.words)
		})
	}
}

// judge is tried with all that can lie beside an image.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		f     facts
		words string
	}{
		{facts{}, ""},
		{facts{there: true}, ""},
		{facts{there: true, old: true}, ""}, // it came back
		{facts{there: true, noted: true, note: Note{Stage: Copying}}, ""},
		{facts{there: true, noted: true, note: Note{Stage: Moved}}, ""}, // put back by a person
		{facts{there: true, noted: true, note: Note{Stage: HandingOver, Peer: "n2"}}, "start the guest on n2 if it did"},
		{facts{there: true, arriving: true}, "not finished"},
		{facts{arriving: true}, "not finished"},
		{facts{there: true, arriving: true, noted: true, note: Note{Stage: Moved}}, "not finished"},
		{facts{noted: true, note: Note{Stage: Moved, Peer: "n2"}}, "start the guest on n2"},
		{facts{noted: true, note: Note{Stage: Copying, Peer: "n2"}}, ""}, // libvirt says that there is none
		{facts{old: true}, "to another node"},
		{facts{old: true, noted: true, note: Note{Stage: Moved, Peer: "n2"}}, "rename /d/web.img.vmferry-old to /d/web.img"},
		{facts{old: true, noted: true, note: Note{Stage: HandingOver, Peer: "n2"}}, "went with the guest to n2"},
	} {
		err := judge("/d/web.img", c.f)
		if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%+v: %v, want %q", c.f, err, c.words)
		}
	}
}

func TestTornNoteIsNoLeaveToStart(t *testing.T) {
	path := image(t)
	touch(t, path+NoteSuffix)
	if err := Check(path); err == nil || !strings.Contains(err.Error(), "web.img") {
		t.Errorf("a note that cannot be read: %v", err)
	}
}

func TestOneMoveAtATime(t *testing.T) {
	path := image(t)
	first := begin(t, path)
	if _, err := Begin(path, Note{Peer: "node3"}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second begin: %v", err)
	}
	if _, ok, err := Adopt(path); ok || !errors.Is(err, ErrBusy) {
		t.Errorf("adopted what is alive: %v", err)
	}
	must(t, Forget(path)) // leaves it alone
	if n, err := ReadNote(path); err != nil || n.Peer != "node2" || n.Stage != Copying || n.Since.IsZero() {
		t.Errorf("note %+v, %v", n, err)
	}
	must(t, first.Close())
	next, ok, err := Adopt(path)
	if !ok || err != nil {
		t.Fatalf("not adopted: %v", err)
	}
	must(t, next.Moved())
	check(t, path, "to node2")
	if _, ok, err := Adopt(path); ok || err != nil {
		t.Errorf("adopted what has ended: %v", err)
	}
}

func TestBeginNeedsTheImage(t *testing.T) {
	if _, err := Begin(filepath.Join(t.TempDir(), "none"), Note{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("began without an image: %v", err)
	}
}

// What a killed agent leaves is tidied by the next, in each case once and for all.
func TestAfterwards(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(string) error
		files []string
	}{
		{"it runs elsewhere", Gone, []string{NoteSuffix, OldSuffix}},
		{"it was started here", Forget, []string{""}},
		{"it is seen to run here", Arrived, []string{"", NoteSuffix}}, // the move may be under way
	} {
		t.Run(c.name, func(t *testing.T) {
			path := image(t)
			must(t, begin(t, path).Close())
			for range 2 {
				must(t, c.do(path))
			}
			if got := beside(t, path); !slices.Equal(got, c.files) {
				t.Errorf("left %q, want %q", got, c.files)
			}
		})
	}
}

func TestArrived(t *testing.T) {
	path := image(t)
	touch(t, path+ArrivingSuffix)
	check(t, path, "remove "+path+ArrivingSuffix)
	must(t, Arrived(path))
	check(t, path, "")
}

// Without a move, nothing is done to the image of a guest that runs elsewhere: it may be shared.
func TestGoneWithoutAMove(t *testing.T) {
	path := image(t)
	must(t, Gone(path))
	must(t, Forget(path))
	if got := beside(t, path); !slices.Equal(got, []string{""}) {
		t.Errorf("left %q", got)
	}
}

// A second move away puts the newer image in place of the older one.
func TestOldIsReplaced(t *testing.T) {
	path := image(t)
	must(t, begin(t, path).Moved())
	must(t, os.WriteFile(path, []byte("newer"), 0o600))
	must(t, begin(t, path).Moved())
	if got, err := os.ReadFile(path + OldSuffix); err != nil || string(got) != "newer" {
		t.Errorf("kept %q, %v", got, err)
	}
}

// An image is put aside only if it is the file that was copied.
func TestAnotherImageIsNotPutAside(t *testing.T) {
	path := image(t)
	l := begin(t, path)
	must(t, os.Rename(path, path+".moved"))
	must(t, os.WriteFile(path, []byte("another"), 0o600))
	if err := l.Moved(); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("renamed: %v", err)
	}
	if got := beside(t, path); !slices.Equal(got, []string{"", ".moved", NoteSuffix}) {
		t.Errorf("left %q", got)
	}
}

func TestMayRename(t *testing.T) {
	for _, c := range []struct {
		kind string
		same bool
		may  bool
	}{{"", true, true}, {"", false, false}, {"NFS", true, false}, {"NFS", false, false}} {
		if err := mayRename("/d/web.img", c.kind, c.same); (err == nil) != c.may {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A half copy that could not be removed is remembered until the next move to that node.
func TestLeftOver(t *testing.T) {
	path := image(t)
	note := Note{Guest: "web", UUID: "u", Peer: "node2", Mark: NewMark(), Made: true}
	l, err := Begin(path, note)
	must(t, err)
	must(t, l.HandOver())
	must(t, l.StayedWithCopy())
	check(t, path, "")
	if _, ok, err := Adopt(path); ok || err != nil {
		t.Errorf("adopted, %v", err)
	}
	must(t, Forget(path))
	must(t, Gone(path))
	n, err := ReadNote(path)
	if err != nil || n.Stage != LeftOver || n.Mark != note.Mark || !n.Made {
		t.Errorf("note %+v, %v", n, err)
	}
	if got := beside(t, path); !slices.Equal(got, []string{"", NoteSuffix}) {
		t.Errorf("left %q", got)
	}
}

func TestSharedBy(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"a file": image(t), "a file that is not there": filepath.Join(dir, "none")} {
		if kind, err := SharedBy(path); kind != "" || err != nil {
			t.Errorf("%s: on %q, %v", name, kind, err)
		}
	}
	if _, err := SharedBy(filepath.Join(dir, "no", "folder")); err == nil {
		t.Error("the file system of nothing is known")
	}
}

func FuzzReadNote(f *testing.F) {
	f.Add([]byte(`{"stage":"handing over","guest":"web","peer":"node2","since":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{`))
	path := filepath.Join(f.TempDir(), "web.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path+NoteSuffix, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := ReadNote(path)
		refused := Check(path) != nil
		if want := err != nil || n.Stage == HandingOver; refused != want {
			t.Errorf("%q: refused %v, read %+v, %v", raw, refused, n, err)
		}
	})
}

// The image that a failover of the mirror has kept under this name has writes that nobody else has: no move of the guest
// away replaces it.
func TestMovedKeepsOthersOld(t *testing.T) {
	path := image(t)
	for i, old := range []string{"last writes before the crash", "and before the next"} {
		must(t, os.WriteFile(path+OldSuffix, []byte(old), 0o600))
		_ = os.Remove(path + NoteSuffix) // no note says that a move has put it aside
		must(t, begin(t, path).Moved())
		must(t, os.WriteFile(path, []byte("it has come back"), 0o600))
		if got, err := os.ReadFile(fmt.Sprintf("%s%s-%d", path, OldSuffix, i+1)); err != nil || string(got) != old {
			t.Errorf("kept %q, %v", got, err)
		}
	}
	if got := beside(t, path); !slices.Equal(got, []string{"", NoteSuffix, OldSuffix, OldSuffix + "-1", OldSuffix + "-2"}) {
		t.Errorf("left %q", got)
	}
}
