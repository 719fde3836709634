package mirror

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const uuid = "6c1f7f0e-0000-4000-8000-00000000abcd"

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// whole is a replica of two disks, of which one is older.
func whole() Manifest {
	return Manifest{Schema: Schema, Guest: "web", UUID: uuid, Role: Replica, Point: Point{3, 9}, Peer: "north", Disks: []Disk{
		{Target: "vda", Path: "/img/a", Size: 1 << 30, Whole: Point{3, 1}, At: Point{3, 9}, Taken: noon},
		{Target: "vdb", Path: "/img/b", Size: 1 << 40, Whole: Point{3, 2}, At: Point{3, 8}, Taken: noon.Add(-time.Minute)},
	}, States: []State{{Path: "/img/nvram", Content: []byte{0, 1, 2}}}}
}

func with(change func(*Manifest)) *Manifest {
	m := whole()
	change(&m)
	return &m
}

func TestParsePoint(t *testing.T) {
	for name, want := range map[string]struct {
		Point
		ok bool
	}{
		"vmferry-1-2":                      {Point{1, 2}, true},
		"vmferry-0-0":                      {Point{}, true},
		"vmferry-18446744073709551615-1":   {Point{1<<64 - 1, 1}, true},
		"vmferry-18446744073709551616-1":   {},
		"vmferry-1":                        {},
		"vmferry-1-":                       {},
		"vmferry--1-2":                     {},
		"vmferry-+1-2":                     {Point{1, 2}, false},
		"vmferry-01-2":                     {Point{1, 2}, false},
		"vmferry-1-2 ":                     {Point{1, 2}, false},
		"vmferry-1-2-3":                    {Point{1, 2}, false},
		" vmferry-1-2":                     {},
		"backup-1-2":                       {},
		"":                                 {},
		"vmferry-1-2\n":                    {Point{1, 2}, false},
		"vmferry-0x1-2":                    {},
		"vmferry-1_0-2":                    {},
		"VMFERRY-1-2":                      {},
		"vmferry-1-2/../vmferry-1-3":       {Point{1, 2}, false},
		(Point{1 << 50, 1 << 50}).String(): {Point{1 << 50, 1 << 50}, true},
	} {
		if p, ok := ParsePoint(name); ok != want.ok || ok && p != want.Point {
			t.Errorf("%q: %v, %t", name, p, ok)
		}
	}
}

func TestFiles(t *testing.T) {
	d := whole().Disks[0]
	if d.Replica() != "/img/a.vmferry-replica-3-1" || d.Delta(Point{3, 10}) != "/img/a.vmferry-delta-3-10" {
		t.Errorf("%q, %q", d.Replica(), d.Delta(Point{3, 10}))
	}
	m := whole()
	if !m.IsDelta(m.Disks[0]) || m.IsDelta(m.Disks[1]) {
		t.Error("round 9 is a delta of vda alone")
	}
	if m.Disks[0].Whole = m.Point; m.IsDelta(m.Disks[0]) {
		t.Error("a full round has no delta")
	}
}

func TestTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		m    *Manifest
		want time.Time
	}{
		"the oldest":         {with(func(*Manifest) {}), noon.Add(-time.Minute)},
		"the first is older": {with(func(m *Manifest) { m.Disks[0].Taken = noon.Add(-time.Hour) }), noon.Add(-time.Hour)},
		"one is not whole":   {with(func(m *Manifest) { m.Disks[1].Whole = Point{} }), time.Time{}},
		"no disks":           {with(func(m *Manifest) { m.Disks = nil }), time.Time{}},
	} {
		if got := tt.m.Taken(); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	path := func(p string) func(*Manifest) { return func(m *Manifest) { m.Disks[0].Path = p } }
	for name, tt := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"good":                {func(*Manifest) {}, ""},
		"without disks":       {func(m *Manifest) { m.Disks, m.States = nil, nil }, ""},
		"highest numbers":     {func(m *Manifest) { m.Epoch, m.Generation, m.Last = maxNumber, maxNumber, maxNumber }, ""},
		"schema":              {func(m *Manifest) { m.Schema++ }, "install the same vmferry"},
		"no guest":            {func(m *Manifest) { m.Guest = "" }, "no guest"},
		"UUID":                {func(m *Manifest) { m.UUID = "../" + uuid[3:] }, "no guest"},
		"UUID with a line":    {func(m *Manifest) { m.UUID += "\n" }, "no guest"},
		"UUID in capitals":    {func(m *Manifest) { m.UUID = strings.ToUpper(uuid) }, "no guest"},
		"role":                {func(m *Manifest) { m.Role = "" }, "no role"},
		"no epoch":            {func(m *Manifest) { m.Epoch = 0 }, "no epoch 0"},
		"epoch":               {func(m *Manifest) { m.Epoch = maxNumber + 1 }, "no epoch"},
		"generation":          {func(m *Manifest) { m.Generation = maxNumber + 1 }, "generation 1125899906842625"},
		"last":                {func(m *Manifest) { m.Last = 1<<64 - 1 }, "generation 18446744073709551615"},
		"no path":             {path(""), "no path of an image"},
		"relative":            {path("img/a"), "no path of an image"},
		"up":                  {path("/img/../etc/a"), "no path of an image"},
		"ends with a slash":   {path("/img/"), "no path of an image"},
		"a zero byte":         {path("/img/a\x00"), "no path of an image"},
		"another's replica":   {path("/img/b.vmferry-replica-3-2"), "no path of an image"},
		"another's old image": {path("/img/b" + OldSuffix), "no path of an image"},
		"the manifest's":      {path("/img/b.vmferry-new"), "no path of an image"},
		"no target":           {func(m *Manifest) { m.Disks[0].Target = "" }, "no path of an image"},
		"the same path":       {path("/img/b"), "two disks"},
		"the same target":     {func(m *Manifest) { m.Disks[0].Target = "vdb" }, "two disks"},
		"no size":             {func(m *Manifest) { m.Disks[1].Size = 0 }, "0 bytes"},
		"size":                {func(m *Manifest) { m.Disks[1].Size = 1<<56 + 1 }, "has 72057594037927937 bytes"},
		"a state at a disk":   {func(m *Manifest) { m.States[0].Path = "/img/b" }, "two disks"},
		"a state twice":       {func(m *Manifest) { m.States = append(m.States, m.States[0]) }, "two disks"},
		"a state's path":      {func(m *Manifest) { m.States[0].Path = "nvram" }, "no path of an image"},
		"a state up":          {func(m *Manifest) { m.States[0].Path = "/img/../../etc/shadow" }, "no path of an image"},
		"far too many disks":  {func(m *Manifest) { m.Disks = make([]Disk, maxDisks+1) }, "1025 disks"},
		"far too many others": {func(m *Manifest) { m.States = make([]State, maxDisks) }, "1024 other"},
	} {
		m := with(tt.change)
		err := m.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if s := (Store{t.TempDir()}); err != nil && (s.Save(*m) == nil) != (m.Schema != Schema) { // Save sets the schema
			t.Errorf("%s: saved", name)
		}
	}
	if len(whole().States) != 1 || len(whole().Disks) != 2 {
		t.Error("Check changes what it checks")
	}
}

func TestStore(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "mirror")}
	if _, err := s.Load(uuid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	m := whole()
	m.Applying, m.Closed, m.Lost, m.LostAt, m.Last = true, true, 1.5, noon, 12
	if err := s.Save(m); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(uuid); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v came back as %+v, %v", m, got, err)
	}
	if info, err := os.Stat(s.Path(uuid)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	other := strings.Replace(uuid, "6", "7", 1)
	if err := os.Link(s.Path(uuid), s.Path(other)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(other); err == nil || !strings.Contains(err.Error(), "is of guest") {
		t.Errorf("another guest's manifest: %v", err)
	}
	if all, err := s.All(); err == nil || len(all) != 1 || all[0].UUID != uuid {
		t.Errorf("all: %v, %v", all, err)
	}
	if err := os.Remove(s.Path(other)); err != nil {
		t.Fatal(err)
	}
	if all, err := s.All(); err != nil || len(all) != 1 {
		t.Errorf("all: %v, %v", all, err)
	}
}

// A link or a file that others may write is no manifest.
func TestStoreIsPrivate(t *testing.T) {
	s := Store{t.TempDir()}
	if err := s.Save(whole()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(whole()); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("saved where others may write: %v", err)
	}
	if _, err := s.Lock(uuid); err == nil {
		t.Error("locked where others may write")
	}
}

func TestLock(t *testing.T) {
	s := Store{t.TempDir()}
	unlock, err := s.Lock(uuid)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		again, err := s.Lock(uuid)
		if err == nil {
			again()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Errorf("two have it: %v", err)
	case <-time.After(20 * time.Millisecond): // a wrong lock may be found late, a right one never fails
	}
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// What is read can be saved, and is the same.
func FuzzParse(f *testing.F) {
	raw, err := json.Marshal(whole())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse(raw)
		if err != nil {
			return
		}
		for _, d := range m.Disks {
			for _, file := range []string{d.Replica(), d.Delta(m.Point)} {
				if filepath.Dir(file) != filepath.Dir(d.Path) || strings.Contains(file, "/../") {
					t.Fatalf("disk %q has a file %q", d.Path, file)
				}
			}
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := Parse(again); err != nil || second.UUID != m.UUID || len(second.Disks) != len(m.Disks) {
			t.Fatalf("%s came back as %s, %v", raw, again, err)
		}
	})
}

// What is saved can be read again.
func TestSaveLarge(t *testing.T) {
	s, m := Store{Dir: t.TempDir()}, whole()
	m.States[0].Content = make([]byte, 49<<20) // as a source may send it: 65 MiB of text
	if s.Save(m) != nil {
		return
	}
	if _, err := s.Load(m.UUID); err != nil {
		t.Error(err)
	}
}

// The error of a manifest that cannot be read names its file.
func TestLoadNamesFile(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := os.WriteFile(s.Path(uuid), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(uuid); err == nil || !strings.Contains(err.Error(), s.Path(uuid)) {
		t.Error(err)
	}
}
