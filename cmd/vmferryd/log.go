package main

import (
	"fmt"
	"io"

	"github.com/sirupsen/logrus"
)

// newLogger writes lines without a time, which the journal adds. Where the
// journal reads them, each begins with its priority (sd-daemon(3)), so that
// "journalctl -p warning" finds what matters.
func newLogger(w io.Writer, journal bool) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	var f logrus.Formatter = &logrus.TextFormatter{DisableTimestamp: true, DisableColors: true}
	if journal {
		f = prioritized{f}
	}
	log.SetFormatter(f)
	return log
}

// prioritized puts the priority before what another formatter makes.
type prioritized struct{ logrus.Formatter }

// Format implements logrus.Formatter.
func (p prioritized) Format(e *logrus.Entry) ([]byte, error) {
	line, err := p.Formatter.Format(e)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "<%d>", priority(e.Level)), line...), nil
}

// priority is the level in syslog's numbers.
func priority(l logrus.Level) int {
	switch {
	case l <= logrus.FatalLevel:
		return 2
	case l == logrus.ErrorLevel:
		return 3
	case l == logrus.WarnLevel:
		return 4
	case l == logrus.InfoLevel:
		return 6
	}
	return 7
}
