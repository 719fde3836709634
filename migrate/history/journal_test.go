package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/record"
)

func recordOf(guest string) record.Record {
	pause := 35.5
	return record.Record{Schema: record.Schema, Guest: guest, Outcome: record.Moved, Started: time.Unix(1, 0).UTC(),
		Ended:   time.Unix(2, 0).UTC(),
		PauseMS: &pause, DowntimeLimitsMS: []float64{30, 60}, Rung: ladder.Live,
		Predicted: &record.Forecast{Rung: ladder.Live, DurationMS: 900, PauseMS: 30, Kept: true}, Used: 7,
		DirtyRate: new(uint64), Rate: 9,
		Steps: []record.Step{{Name: "slot", Begin: time.Unix(1, 0).UTC(), MS: 1}}}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", RecordsFile)
	if got, err := ReadRecords(path); got != nil || err != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	for _, g := range []string{"a", "b"} {
		if err := AppendRecord(path, recordOf(g)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadRecords(path)
	if want := []record.Record{recordOf("a"), recordOf("b")}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, %v", got, err)
	}
}

// TestJournalTorn cuts the file at every byte of its last line, as a kill does, and continues.
func TestJournalTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), RecordsFile)
	if err := AppendRecord(path, recordOf("a")); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(first) {
		if err := os.WriteFile(path, append(bytes.Clone(first), first[:cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		want := 2
		if cut == len(first)-1 {
			want = 3 // only the newline is missing: the record is whole
		}
		if err := AppendRecord(path, recordOf("c")); err != nil {
			t.Fatal(err)
		}
		got, err := ReadRecords(path)
		if err != nil || len(got) != want || got[0].Guest != "a" || got[want-1].Guest != "c" {
			t.Fatalf("cut at %d: %d records, %v", cut, len(got), err)
		}
	}
}

func TestJournalConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), RecordsFile)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := AppendRecord(path, recordOf("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := ReadRecords(path); err != nil || len(got) != 8 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func TestJournalErrors(t *testing.T) {
	dir := t.TempDir()
	if err := AppendRecord(dir, recordOf("a")); err == nil {
		t.Error("appended to a directory")
	}
	if _, err := ReadRecords(dir); err == nil {
		t.Error("read a directory")
	}
}

func FuzzDecodeRecords(f *testing.F) {
	line, err := json.Marshal(recordOf("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add(append(append(line, '\n'), line[:20]...))
	f.Add([]byte("\n\n{}\nnull\n[1]\n"))
	f.Add([]byte(`{"schema":1,"phases":[{"stamp":"x"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		records := decodeRecords(in)
		if lines := bytes.Count(in, []byte("\n")) + 1; len(records) > lines {
			t.Errorf("%d records of %d lines", len(records), lines)
		}
		for _, r := range records {
			if r.Schema < 1 {
				t.Errorf("a record without a schema: %+v", r)
			}
		}
	})
}

// Another writer that holds the file and hangs does not hold up a guest that has moved, and the record is not lost
// for it.
func TestAppendRecordDoesNotWaitForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.jsonl")
	other, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := appendWithin(time.Millisecond, path, record.Record{Schema: record.Schema, Guest: "vm1"}); err == nil ||
		!strings.Contains(err.Error(), path) {
		t.Errorf("appended to a file that another writer has: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := appendWithin(time.Minute, path, record.Record{Schema: record.Schema, Guest: "vm2"}); err != nil {
		t.Fatal(err)
	}
	for {
		records, err := ReadRecords(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 2 {
			return
		}
		runtime.Gosched()
	}
}

// What another user puts in the place of the records is neither written to nor waited for.
func TestRecordsThatAreNone(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"a FIFO":             func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":        func(path string) error { return os.Mkdir(path, 0o700) },
		"a link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		path := filepath.Join(t.TempDir(), RecordsFile)
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
		if err := AppendRecord(path, record.Record{Schema: record.Schema, Guest: "g"}); err == nil ||
			strings.Contains(err.Error(), "not done after") {
			t.Errorf("%s: appended: %v", name, err)
		}
		if got, err := ReadRecords(path); err == nil {
			t.Errorf("%s: read %v", name, got)
		}
	}
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, RecordsFile)
	if err := errors.Join(os.WriteFile(real, nil, 0o600), os.Symlink("real", link),
		AppendRecord(link, record.Record{Schema: record.Schema, Guest: "g"})); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadRecords(real); err != nil || len(got) != 1 {
		t.Errorf("behind a link of our own: %v, %v", got, err)
	}
}
