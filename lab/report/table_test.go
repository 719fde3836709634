package report

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func table(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// checkTable holds for every table without colours.
func checkTable(t *testing.T, text string) {
	t.Helper()
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if n := utf8.RuneCountInString(l); n > maxWidth {
			t.Errorf("a line of %d characters: %q", n, l)
		}
		if strings.ContainsFunc(l, unicode.IsControl) {
			t.Errorf("a control character in %q", l)
		}
	}
}

func TestTable(t *testing.T) {
	text := table(t, sample(2, 20, 45))
	checkTable(t, text)
	golden(t, "table.txt", []byte(text))

	failing := sample(2, 20, 45)
	failing.Scenarios[0].MaxRunningCopies = 2
	failing.Scenarios[0].Passed = false
	failing.Scenarios[0].Failures = []string{strings.Repeat("a long reason why it did not pass ", 8)}
	failing.Scenarios[1].Guests[0].UDP, failing.Scenarios[1].Guests[1].UDP = nil, nil
	failing.Scenarios[2].Guests[0].Guest = "a-guest-with-a-name-that-goes-on-and-on"
	text = table(t, failing)
	checkTable(t, text)
	golden(t, "failing.txt", []byte(text))
}

func TestTableHostile(t *testing.T) {
	checkTable(t, table(t, hostile()))
	checkTable(t, table(t, &Report{}))
}

func TestTableColours(t *testing.T) {
	r := sample(1, 50, 20)
	var b bytes.Buffer
	r.writeGuests(&b, paint(true))
	r.Scenarios[3].writeVerdict(&b, paint(true))
	for _, want := range []string{"\x1b[1m", "\x1b[31mFAILED\x1b[0m", "\x1b[32mnever more"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in the coloured table", want)
		}
	}
	env := func(string) string { return "" }
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if colourful(&b, env) || colourful(f, env) {
		t.Error("colours for something that is no terminal")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestTableError(t *testing.T) {
	if err := sample(1, 50, 20).WriteTable(full{}); err == nil {
		t.Error("a failed write is no error")
	}
}

func TestFit(t *testing.T) {
	cols := []column{{head: "a", least: 2}, {head: "b", least: 3}, {head: "c"}}
	for _, tt := range []struct {
		cells []string
		limit int
		want  []int
	}{
		{[]string{"aaa", "bbbb", "cc"}, 99, []int{3, 4, 2}},
		{[]string{"aaa", "bbbb", "cc"}, 4 + 8, []int{3, 3, 2}},
		{[]string{"aaaaaaaa", "bbbb", "cc"}, 4 + 10, []int{4, 4, 2}},
		{[]string{"aaa", "bbbb", "cccccccc"}, 4 + 5, []int{2, 3, 8}}, // no more room to be had
	} {
		if got := fit(cols, [][]string{tt.cells}, tt.limit); !slices.Equal(got, tt.want) {
			t.Errorf("fit(%q, %d) = %v, want %v", tt.cells, tt.limit, got, tt.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"one two three", []string{"one two", "three"}},
		{"abcdefghijk", []string{"abcdefgh", "ijk"}},
		{"ab abcdefghijk", []string{"ab", "abcdefgh", "ijk"}},
	} {
		if got := wrap(tt.in, 8); !slices.Equal(got, tt.want) {
			t.Errorf("wrap(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[float64]string{0: "0 ms", 1.24: "1.2 ms", 9.96: "10 ms", 112.4: "112 ms", 9999: "9999 ms",
		9999.6: "10.0 s", 20350: "20.4 s"} {
		if got := duration(in); got != want {
			t.Errorf("duration(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestHeadline(t *testing.T) {
	udp := func(ms float64, open bool) []Guest { return []Guest{{UDP: &UDP{BlackoutMS: ms, Open: open}}} }
	for _, tt := range []struct {
		ours, peer []Guest
		want       string
	}{
		{udp(112, false), udp(231, false), "crash: worst UDP blackout vmferry 112 ms, VirtualDomain 231 ms (0.48×)"},
		{udp(112, false), udp(224, true), "crash: worst UDP blackout vmferry 112 ms, VirtualDomain ≥ 224 ms (≤ 0.50×)"},
		{udp(112, true), udp(224, false), "crash: worst UDP blackout vmferry ≥ 112 ms, VirtualDomain 224 ms (≥ 0.50×)"},
		{udp(112, true), udp(224, true), "crash: worst UDP blackout vmferry ≥ 112 ms, VirtualDomain ≥ 224 ms"},
		{udp(112, false), udp(0, false), "crash: worst UDP blackout vmferry 112 ms, VirtualDomain 0 ms"},
		{udp(112, false), []Guest{{}}, "crash: worst UDP blackout vmferry 112 ms, VirtualDomain not measured"},
		{nil, nil, "crash: worst kernel gap vmferry not measured, VirtualDomain not measured"},
	} {
		r := &Report{Scenarios: []Scenario{{Name: Crash, Agent: Ours, Guests: tt.ours},
			{Name: Crash, Agent: Peer, Guests: tt.peer}}}
		if got := r.headline(kind{name: Crash}); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
}

func TestCompare(t *testing.T) {
	r := sample(2, 20, 45)
	got := map[string]string{}
	for _, m := range r.compare(kind{Crash, "pacemaker"}) {
		text := [2]string{none, none}
		for i, f := range []*figure{m.ours, m.peer} {
			if f != nil {
				text[i] = f.text
			}
		}
		got[m.label] = text[0] + " | " + text[1] + " | " + m.ratioText()
	}
	want := map[string]string{
		"worst UDP blackout":     "11.6 s | ≥ 35.0 s | ≤ 0.33×",
		"worst TCP blackout":     "12.0 s | 16.1 s | 0.74×",
		"datagrams lost":         "1139 | 1557 | 0.73×",
		"TCP connections reset":  "2 | 2 | 1.00×",
		"guests rebooted":        "2 | 2 | 1.00×",
		"copies running at once": "1 | 1 | 1.00×",
	}
	for label, w := range want {
		if got[label] != w {
			t.Errorf("%s: got %q, want %q", label, got[label], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d: what nobody measured has none", len(got), len(want))
	}
}
