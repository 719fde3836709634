package view

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/report"
)

// sample is the report of the library's own golden file.
func sample(t *testing.T) *report.Report {
	t.Helper()
	r, err := report.ReadFile("../report/testdata/report.json")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWriteCSV(t *testing.T) {
	r := sample(t)
	r.Targets[1].Directed = false
	var b bytes.Buffer
	if err := WriteCSV(&b, r); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(lines) != 4 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if got := strings.Join(lines[1],
		" "); got != "udp://192.0.2.1:7007 2026-01-02T03:04:06.6Z 2026-01-02T03:04:06.85025Z 250.25 1.1 246 200 46 4 0 0 0 false" {
		t.Errorf("first outage: %s", got)
	}
	if last := lines[3]; last[6] != "" || last[7] != "" || last[12] != "true" {
		t.Errorf("last outage: %v", last)
	}
}

// broken is a writer that has no room.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestWritersReturnErrors(t *testing.T) {
	if err := WriteCSV(broken{}, sample(t)); err == nil {
		t.Error("CSV: no error")
	}
	if err := WriteHTML(broken{}, sample(t), nil); err == nil {
		t.Error("HTML: no error")
	}
}

func TestWriteHTML(t *testing.T) {
	r := sample(t)
	r.Targets[0].Target = "http://x/</script><b>"
	var b bytes.Buffer
	if err := WriteHTML(&b, r, []Mark{{r.Start, "STOP <of> vm1"}}); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"250.2 ± 1.1", "97.4975 %", ">open<", "STOP &lt;of&gt; vm1", `"bucket_ms":5000`,
		`data-target="1"`, "own faults", "Content-Security-Policy"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Count(text, "</script>") != 2 || strings.Contains(text, "<b>") {
		t.Error("a target's name breaks out of the page")
	}
	for _, outside := range []string{"src=", "href=", "url(", "@import"} {
		if strings.Contains(text, outside) {
			t.Errorf("the page asks for something outside: %s", outside)
		}
	}
}

// Clients that hold every connection of the metrics leave this process its descriptors.
func TestServerHasALimit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := new(Metrics).Server()
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	served := func(conn net.Conn) bool {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}
	kept := make([]net.Conn, maxScrapers)
	for i := range kept {
		if kept[i] = dial(); !served(kept[i]) {
			t.Fatalf("client %d is not served", i+1)
		}
	}
	if served(dial()) {
		t.Error("one too many is served")
	}
	_ = kept[0].Close()
	for deadline := time.Now().Add(time.Minute); !served(dial()); { // once the server has noticed
		if time.Now().After(deadline) {
			t.Fatal("nobody is served after one has gone")
		}
	}
	if served(dial()) {
		t.Error("one too many is served after one has gone")
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	var m Metrics
	m.Set([]outage.Progress{{Target: `udp://"x"`, Sent: 10, Answered: 9, Silent: 1500 * time.Millisecond}})
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		"# TYPE blackout_probes_sent_total counter\nblackout_probes_sent_total{target=\"udp://\\\"x\\\"\"} 10\n",
		"blackout_silent_seconds{target=\"udp://\\\"x\\\"\"} 1.5\n",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in\n%s", want, w.Body)
		}
	}
	if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Errorf("content type %q", kind)
	}
}

func TestLive(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	live := NewLive(&b, func() (int, int) { return 200, 24 })
	second := func(p outage.Progress) string {
		b.Reset()
		p.Target = "udp://x:1"
		live.Show(now, []outage.Progress{p})
		now = now.Add(time.Second)
		return b.String()
	}
	second(outage.Progress{Sent: 1, Answered: 1})
	second(outage.Progress{Sent: 100, Answered: 100})
	second(outage.Progress{Sent: 200, Answered: 180, Dark: 200 * time.Millisecond})
	got := second(outage.Progress{Sent: 300, Answered: 180, Dark: 1200 * time.Millisecond, Silent: time.Second,
		Blackout: time.Second})
	if !strings.HasPrefix(got, "\x1b[1A") || !strings.Contains(got, ".+#| SILENT 1000.0 ms worst 1000.0 ms") {
		t.Errorf("silent: %q", got)
	}
	got = second(outage.Progress{Sent: 400, Answered: 280, Lost: 120, Dark: 1200 * time.Millisecond,
		RTT: 300 * time.Microsecond, Blackout: time.Second})
	if !strings.Contains(got, ".+#.| 280/400 lost 120 rtt 0.3 ms worst 1000.0 ms") {
		t.Errorf("again: %q", got)
	}
	for range 2 * stripSeconds {
		got = second(outage.Progress{Sent: 1, Answered: 1, Dark: 1200 * time.Millisecond})
	}
	if !strings.Contains(got, "|"+strings.Repeat(".", stripSeconds)+"|") {
		t.Errorf("after two minutes: %q", got)
	}
}

func TestLiveShowsTheWorstWhereRoomIsSmall(t *testing.T) {
	var b bytes.Buffer
	live := NewLive(&b, func() (int, int) { return 80, 5 })
	var state []outage.Progress
	for i := range 10 {
		state = append(state, outage.Progress{Target: fmt.Sprintf("udp://x:%d", i), Answered: 1})
	}
	state[7].Silent, state[4].Dark, state[2].Dark = time.Second, 2*time.Second, time.Second
	live.Show(time.Unix(0, 0), state)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], ":2") || !strings.Contains(lines[1], ":4") ||
		!strings.Contains(lines[2], ":7") || !strings.Contains(lines[3], "and 7 more") {
		t.Errorf("%q", lines)
	}
	for _, line := range lines {
		if len(strings.TrimSuffix(line, "\x1b[K")) > 80 {
			t.Errorf("%q is wider than the terminal", line)
		}
	}
}
