package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/view"
)

// The size of the terminal where it is not known.
const (
	defaultWidth  = 160
	defaultHeight = 50
)

// liveEvery is how often live lines and metrics are renewed.
const liveEvery = 250 * time.Millisecond

// files are the flags that name files to write.
type files struct{ json, html, csv string }

// check finds out whether all of them can be written, before anything is sent.
func (f files) check() error {
	for _, one := range []struct{ flag, path string }{{"json", f.json}, {"html", f.html}, {"csv", f.csv}} {
		if one.path == "" || one.path == "-" && one.flag == "json" {
			continue
		}
		if err := report.CheckFile(one.path); err != nil {
			return misuse("--%s: %w", one.flag, err)
		}
	}
	return nil
}

// toFile reports whether the JSON report goes to a file.
func (f files) toFile() bool { return f.json != "" && f.json != "-" }

// write writes all of them. What goes to standard output is not among them.
func (f files) write(r *blackout.Report, marks []view.Mark) error {
	var errs []error
	if f.toFile() {
		errs = append(errs, r.WriteFile(f.json))
	}
	if f.html != "" {
		errs = append(errs, report.ReplaceFile(f.html, func(w io.Writer) error { return view.WriteHTML(w, r, marks) }))
	}
	if f.csv != "" {
		errs = append(errs, report.ReplaceFile(f.csv, func(w io.Writer) error { return view.WriteCSV(w, r) }))
	}
	return errors.Join(errs...)
}

// newLive shows progress in what may be a terminal.
func newLive(w io.Writer) func([]blackout.Progress) {
	live := view.NewLive(w, func() (int, int) {
		if f, ok := w.(*os.File); ok {
			if width, height, err := term.GetSize(int(f.Fd())); err == nil {
				return width, height
			}
		}
		return defaultWidth, defaultHeight
	})
	return func(state []blackout.Progress) { live.Show(time.Now(), state) }
}

// serveMetrics serves the state of the run to Prometheus until ctx ends. The function
// that it returns takes the state.
func serveMetrics(ctx context.Context, addr string, log logrus.FieldLogger) (func([]blackout.Progress), error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	log.WithField("address", l.Addr().String()).Info("serving metrics")
	var m view.Metrics
	server := m.Server()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.WithError(err).Warn("metrics are no longer served")
		}
	}()
	return m.Set, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
