// Package view shows what the probe measures: [Live] in a terminal while a run
// continues, [Metrics] to a Prometheus server, [WriteCSV] and [WriteHTML] for what
// has been measured. None of them knows how it was measured.
package view
