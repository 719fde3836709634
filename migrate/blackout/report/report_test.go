package report

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sampleReport is a run in which everything happened once.
func sampleReport() *Report {
	start := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	first := 0.4
	return &Report{
		Schema: Schema, Tool: "blackout", Version: "1.0",
		Start: start, End: start.Add(10 * time.Second),
		IntervalMs: 1, Burst: 1, ThresholdMs: 3, MaxErrorMs: 100, Complete: true, ClockStepMs: -0.5,
		Faults: []Fault{{Kind: Late, Start: start.Add(5 * time.Second), End: start.Add(5012 * time.Millisecond),
			Ms: 12}},
		Args: []string{"udp://192.0.2.1:7007", "tcp://192.0.2.1:7007", "--for", "10s"},
		Targets: []Target{
			{
				Target: "udp://192.0.2.1:7007", Proto: endpoint.UDP,
				Sent: 9998, Answered: 9700, Lost: 298, Directed: true, LostOut: 200, LostBack: 98,
				Skipped: 2, Late: 4, Duplicates: 1, FirstAnswerMs: &first,
				BlackoutMs: 250.25, BlackoutStart: start.Add(time.Second),
				BlackoutEnd: start.Add(1250250 * time.Microsecond),
				ErrorMs:     1.1, WorstErrorMs: 2.5, BelowErrorMs: 0.9, DarkMs: 250.25, DarkErrorMs: 1.1,
				Availability: 0.974975,
				Outages: []Outage{{
					Start: start.Add(time.Second), End: start.Add(1250250 * time.Microsecond), Ms: 250.25, ErrorMs: 1.1,
					Lost: 246, LostOut: 200, LostBack: 46, Late: 4,
				}},
				Instances: 1, RTT: RTT{N: 9700, P50: 210.5, P90: 300, P99: 400, P999: 900, Max: 250900},
				RTTBefore: RTT{N: 1000, P50: 210, P90: 290, P99: 390, P999: 500, Max: 600},
				RTTAfter:  RTT{N: 8696, P50: 211, P90: 301, P99: 400, P999: 500, Max: 700},
				Series: Series{Start: start, BucketMs: 5000, Sent: []uint32{4998, 5000},
					Answered: []uint32{4700, 5000}, RTTMaxUs: []uint32{250900, 700}},
			},
			{
				Target: "tcp://192.0.2.1:7007", Proto: endpoint.TCP,
				Sent: 9990, Answered: 8000, Lost: 490, Directed: true, LostOut: 490, Unsettled: 1500, SendErrors: 300,
				FirstAnswerMs: &first,
				BlackoutMs:    1500, BlackoutStart: start.Add(8500 * time.Millisecond),
				BlackoutEnd: start.Add(10 * time.Second),
				ErrorMs:     1, WorstErrorMs: 2.5, DarkMs: 1990, DarkErrorMs: 102, Availability: 0.801, Inexact: true,
				KernelBlackoutMs: new(44.5), KernelErrorMs: 5, KernelBelowErrorMs: 1.5,
				KernelBlackoutStart: start.Add(2 * time.Second),
				KernelBlackoutEnd:   start.Add(2044500 * time.Microsecond),
				Outages: []Outage{
					{Start: start.Add(2 * time.Second), End: start.Add(2490 * time.Millisecond), Ms: 490, ErrorMs: 101,
						Lost: 490, LostOut: 490, Resets: 1, Reconnects: 1},
					{Start: start.Add(8500 * time.Millisecond), End: start.Add(10 * time.Second), Ms: 1500, ErrorMs: 1,
						Open: true},
				},
				Resets: 1, Reconnects: 1, Instances: 2, InstanceChanges: 1,
				RTT: RTT{N: 8000, P50: 180, P90: 200, P99: 390, P999: 800, Max: 900},
				Series: Series{Start: start, BucketMs: 5000, Sent: []uint32{4995, 4995},
					Answered: []uint32{4500, 3500}, RTTMaxUs: []uint32{900, 700}},
			},
		},
	}
}

// golden compares got with a file, which -update rewrites.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update if that is wanted. Got:\n%s", name, got)
	}
}

func TestReportForms(t *testing.T) {
	var form, table bytes.Buffer
	if err := sampleReport().Write(&form); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", form.Bytes())
	if err := sampleReport().WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", table.Bytes())
}

func TestReadReportRoundTrip(t *testing.T) {
	var b bytes.Buffer
	if err := sampleReport().Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil || !reflect.DeepEqual(got, sampleReport()) {
		t.Errorf("ReadReport = %+v, %v", got, err)
	}
}

func TestReadReportRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(r *Report)
		want   string
	}{
		"schema":        {func(r *Report) { r.Schema = 2 }, "schema 2"},
		"interval":      {func(r *Report) { r.IntervalMs = 0 }, "interval_ms"},
		"proto":         {func(r *Report) { r.Targets[0].Proto = "sctp" }, `proto "sctp"`},
		"series":        {func(r *Report) { r.Targets[0].Series.Sent = nil }, "buckets"},
		"bucket":        {func(r *Report) { r.Targets[0].Series.BucketMs = 0 }, "bucket_ms"},
		"answered":      {func(r *Report) { r.Targets[0].Answered = 1e6 }, "answered"},
		"a terminal's":  {func(r *Report) { r.Targets[0].Target = "udp://\x1b]0;x\a:1" }, "unprintable characters"},
		"negative":      {func(r *Report) { r.Targets[0].BlackoutMs = -1 }, "negative"},
		"kernel":        {func(r *Report) { r.Targets[1].KernelBlackoutMs = new(-1.0) }, "negative"},
		"outage":        {func(r *Report) { r.Targets[1].Outages[1].End = time.Time{} }, "outage 2"},
		"outage length": {func(r *Report) { r.Targets[1].Outages[0].Ms = -1 }, "outage 1"},
	}
	for name, tt := range tests {
		r := sampleReport()
		tt.change(r)
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(&b); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
	for _, text := range []string{"", "null", "[]", "{", `{"schema":1}`, `{"schema":1,"interval_ms":1} x`} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q is read as a report", text)
		}
	}
}

func FuzzReadReport(f *testing.F) {
	var b bytes.Buffer
	if err := sampleReport().Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":1,"interval_ms":1,"targets":[{"proto":"udp"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b, table bytes.Buffer
		if err := r.WriteTable(&table); err != nil {
			t.Errorf("table of what was read: %v", err)
		}
		if err := r.Write(&b); err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		if again, err := Read(&b); err != nil || again.End != r.End && !again.End.Equal(r.End) {
			t.Errorf("what was written is not read back: %v", err)
		}
	})
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.json")
	for range 2 { // the second replaces the first
		if err := CheckFile(path); err != nil {
			t.Fatal(err)
		}
		if err := sampleReport().WriteFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadFile(path); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{dir, filepath.Join(dir, "none")} {
		if _, err := ReadFile(wrong); err == nil {
			t.Errorf("%s is read as a report", wrong)
		}
	}
	if err := ReplaceFile(path, func(io.Writer) error { return io.ErrShortWrite }); err == nil {
		t.Error("a file that could not be written replaces another")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCheckFileRefuses(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, "/dev/null", filepath.Join(dir, "none", "r"), filepath.Join(plain, "r")} {
		if err := CheckFile(path); err == nil {
			t.Errorf("CheckFile(%q) is content", path)
		}
	}
	if err := sampleReport().WriteFile(filepath.Join(dir, "none", "r")); err == nil {
		t.Error("a report was written into a folder that is not there")
	}
}
