package blackout

import (
	"io"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/probe"
	"github.com/vmferry/vmferry/migrate/blackout/report"
)

// What a run measured; see package report.
type (
	Report = report.Report
	Target = report.Target
	Outage = report.Outage
	Series = report.Series
	RTT    = report.RTT
	Fault  = report.Fault
)

// Config is what Watch does; see package probe for its fields and their defaults.
type Config = probe.Config

// Progress is the state of a target while a run continues.
type Progress = outage.Progress

// ReadReport reads one report and checks that its parts fit together.
func ReadReport(r io.Reader) (*Report, error) { return report.Read(r) }

// ReadFile reads the report of a file, see ReadReport.
func ReadFile(path string) (*Report, error) { return report.ReadFile(path) }
