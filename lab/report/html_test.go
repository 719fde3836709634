package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.render(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// inner is what a script or style element holds; it is not markup.
var inner = regexp.MustCompile(`(?s)(<(?:script|style)[^>]*>).*?(</(?:script|style)>)`)

// parse reads markup to its end: every element that is opened must be closed.
func parse(markup string) error {
	d := xml.NewDecoder(strings.NewReader(inner.ReplaceAllString(noControl(markup), "$1$2")))
	d.Strict, d.Entity = true, xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// noControl takes out what a browser shows as nothing and XML forbids.
func noControl(markup string) string { return strings.ReplaceAll(markup, "\x1b", "") }

// outside matches whatever would make a browser fetch something.
var outside = regexp.MustCompile(`(?i)https?:|\bsrc\s*=|<link|@import|url\(|\bhref\s*=|\bfetch\(|XMLHttpRequest|import\(`)

func TestPageStandsAlone(t *testing.T) {
	for name, r := range map[string]*Report{"sample": sample(2, 20, 30), "empty": {}, "hostile": hostile()} {
		markup := pageOf(t, r)
		if found := outside.FindString(markup); found != "" {
			t.Errorf("%s: the page holds %q", name, found)
		}
		if err := parse(markup); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{`<p>x`, `<p><b></p></b>`} {
		if parse(bad) == nil {
			t.Errorf("parse passes %q", bad)
		}
	}
	if !outside.MatchString(`<img src="x"/>`) || !outside.MatchString("https://example.org") {
		t.Error("outside finds nothing")
	}
}

// A page of nodes without a power switch has no peer, and shows at once who decided what.
func TestPageOfTheGuard(t *testing.T) {
	r := sample(1, 20, 20)
	if markup := pageOf(t, r); strings.Contains(markup, "who decided what") || !strings.Contains(markup, "<th scope=\"col\">"+Peer) {
		t.Error("a page of other scenarios changed")
	}
	s := r.Scenarios[0]
	s.Name, s.Agent = SplitBrain, Ours
	r.Scenarios = []Scenario{s}
	markup := pageOf(t, r)
	for _, want := range []string{"Two nodes without a power switch", `<details open="open"><summary>who decided what and when: `,
		"lose the link between them"} {
		if !strings.Contains(markup, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(markup, Peer) || strings.Contains(markup, `<th scope="col">ratio`) {
		t.Error("the page compares with nobody")
	}
	if err := parse(markup); err != nil {
		t.Error(err)
	}
}

// evil tries to leave each place where a name is put.
const evil = `</script><script>alert("1")</script><b onload='x' & "y">` + "\u2028\x1b[31m"

func hostile() *Report {
	r := sample(1, 20, 20)
	r.Commit, r.Environment.Kernel = evil, evil
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		s.Failures = []string{evil}
		s.Events = append(s.Events, Event{zero, evil, evil})
		s.Guests[0].Guest, s.Guests[0].From, s.Guests[0].To = evil, evil, evil
	}
	r.Scenarios[0].Name, r.Scenarios[1].Agent = evil, evil
	return r
}

func TestPageEscapesNames(t *testing.T) {
	markup := pageOf(t, hostile())
	if n := strings.Count(markup, "<script"); n != 2 {
		t.Errorf("the page has %d scripts, want its own 2", n)
	}
	for _, bad := range []string{`alert("1")`, "<b onload"} {
		if strings.Contains(markup, bad) {
			t.Errorf("the page holds %q as it came", bad)
		}
	}
	d := embedded(t, markup)
	if got := d.Figures["0-0"].Lanes[0].Guest; got != evil {
		t.Errorf("the data names guest %q, want %q", got, evil)
	}
}

// embedded reads the page's data back.
func embedded(t *testing.T, markup string) pageData {
	t.Helper()
	_, rest, _ := strings.Cut(markup, `<script type="application/json" id="data">`)
	text, _, found := strings.Cut(rest, "</script>")
	if !found {
		t.Fatal("the page holds no data")
	}
	var d pageData
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPageSays(t *testing.T) {
	markup := pageOf(t, sample(2, 5, 45))
	for _, want := range []string{"3f2a9c41d07b…", "tcg: guests were emulated", "≤ 0.33×", "0.46×",
		"VirtualDomain FAILED",
		"vmferry passed", "≥ 35.0 s", "<dt>hand-over</dt>", "<dt>relearn</dt>", "node-a → <b class=\"bad\">nowhere</b>",
		"&#43;0.310 s", "answered no client", "node empty after 6.6 s"} {
		if !strings.Contains(markup, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if markup := pageOf(t, &Report{}); !strings.Contains(markup, "No scenario was run.") {
		t.Error("a page without scenarios does not say so")
	}
}

func TestNoPraiseForAFailedRun(t *testing.T) {
	r := sample(1, 50, 30)
	if g := r.group(0, kind{GracefulShutdown, "pacemaker"}); !g.Head.Better {
		t.Fatal("the better agent is not shown as such")
	}
	r.Scenarios[0].Passed = false
	if g := r.group(0, kind{GracefulShutdown, "pacemaker"}); g.Head.Better {
		t.Error("an agent that failed is shown as the better one")
	}
}

// noisy is the least compressible page: 12 lanes of 60,000 buckets.
func noisy() *Report {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := &Report{Scenarios: []Scenario{{Name: Crash, Agent: Ours, Trigger: zero}}}
	for range 6 {
		g := Guest{Guest: "g", UDP: &UDP{BlackoutMS: 100, Series: noise(rnd, 60_000)},
			TCP: &TCP{BlackoutMS: 100, Series: noise(rnd, 60_000)}}
		r.Scenarios[0].Guests = append(r.Scenarios[0].Guests, g)
	}
	return r
}

func noise(rnd *rand.Rand, n int) *Series {
	s := &Series{Start: zero, BucketMS: 1}
	for range n {
		s.Sent = append(s.Sent, uint32(rnd.IntN(4)))
		s.Answered = append(s.Answered, uint32(rnd.IntN(4)))
		s.RTTMaxUS = append(s.RTTMaxUS, uint32(rnd.IntN(1e7)))
	}
	return s
}

func TestPageSize(t *testing.T) {
	for name, r := range map[string]*Report{"noise": noisy(), "48 lanes": sample(6, 1, 60)} {
		if n := len(pageOf(t, r)); n >= 3_000_000 {
			t.Errorf("%s: the page has %d bytes", name, n)
		} else {
			t.Logf("%s: %d bytes", name, n)
		}
	}
}

func TestWriteHTML(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	r := sample(1, 50, 20)
	if err := r.WriteHTML(path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != pageOf(t, r) {
		t.Errorf("the file is not the page (%v)", err)
	}
	if err := r.WriteHTML(filepath.Join(path, "x")); err == nil {
		t.Error("a file below a file was written")
	}
}

// TestBrowserDraws runs the page's script where a browser is installed: the
// plots are drawn, a drag zooms in on all plots of the scenario and the whole
// run comes back.
func TestBrowserDraws(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium here")
	}
	probe, err := os.ReadFile(filepath.Join("testdata", "probe.js"))
	if err != nil {
		t.Fatal(err)
	}
	markup := strings.Replace(pageOf(t, sample(2, 5, 45)), "</body>", "<script>"+string(probe)+"</script></body>", 1)
	dir := t.TempDir()
	path := filepath.Join(dir, "page.html")
	if err := os.WriteFile(path, []byte(markup), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu",
		"--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1300,2000", "--dump-dom",
		"file://"+path).Output()
	if err != nil {
		t.Fatalf("%s: %v", browser, err)
	}
	want := `{"figures":4,"lanes":16,"label":"96 ms","zoomed":true,"both":true,"whole":true,"tip":true}`
	if !strings.Contains(string(out), `data-probe="`+strings.ReplaceAll(want, `"`, "&quot;")+`"`) {
		found := regexp.MustCompile(`data-probe="[^"]*"`).FindString(string(out))
		t.Errorf("the browser drew %s, want %s", found, want)
	}
}
