package view

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
)

// Metrics answers the requests of a Prometheus server with the state of a run,
// in the text format 0.0.4. The zero value is ready; its methods may be called
// concurrently.
type Metrics struct {
	mu    sync.Mutex
	state []outage.Progress
}

// Set replaces the state; the slice is copied.
func (m *Metrics) Set(state []outage.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = append(m.state[:0], state...)
}

// families are the metrics, with a sample from each target.
var families = []struct {
	name, kind, help string
	value            func(progress) float64
}{
	{"blackout_probes_sent_total", "counter", "Probes sent.", func(p progress) float64 { return float64(p.Sent) }},
	{"blackout_probes_answered_total", "counter", "Probes answered.",
		func(p progress) float64 { return float64(p.Answered) }},
	{"blackout_probes_lost", "gauge", "Probes without an answer, sent before the last answered one.",
		func(p progress) float64 { return float64(p.Lost) }},
	{"blackout_outages_total", "counter", "Outages that have ended.",
		func(p progress) float64 { return float64(p.Outages) }},
	{"blackout_dark_seconds", "gauge", "Sum of all outages.", func(p progress) float64 { return p.Dark.Seconds() }},
	{"blackout_longest_seconds", "gauge", "Length of the longest outage.",
		func(p progress) float64 { return p.Blackout.Seconds() }},
	{"blackout_silent_seconds", "gauge", "How long an answer is overdue, 0 if none is.",
		func(p progress) float64 { return p.Silent.Seconds() }},
	{"blackout_rtt_seconds", "gauge", "The last round trip.", func(p progress) float64 { return p.RTT.Seconds() }},
}

type progress = outage.Progress

// label escapes a label's value as the text format wants it.
var label = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// ServeHTTP implements http.Handler.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	state := slices.Clone(m.state)
	m.mu.Unlock()
	var b bytes.Buffer
	for _, f := range families {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, p := range state {
			fmt.Fprintf(&b, "%s{target=\"%s\"} %v\n", f.name, label.Replace(p.Target), f.value(p))
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a client that went away is no fault of ours
}

// scrapeTimeout bounds how long a client of the metrics may take.
const scrapeTimeout = 10 * time.Second

// maxScrapers is how many clients of the metrics are served at a time.
const maxScrapers = 64

// Server returns a server for m, at every path. While 64 connections are open, further
// ones are closed at once: the descriptors that a run needs for its own sockets stay free.
func (m *Metrics) Server() *http.Server {
	var open atomic.Int32
	limit := func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if open.Add(1) > maxScrapers {
				_ = conn.Close()
			}
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	return &http.Server{Handler: m, ReadTimeout: scrapeTimeout, WriteTimeout: scrapeTimeout, ConnState: limit}
}
