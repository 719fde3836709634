package blackout

import (
	"context"
	"io"
	"net"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/reflector"
	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
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

// Progress is the state of a target while a run continues.
type Progress = outage.Progress

// ReadReport reads one report and checks that its parts fit together.
func ReadReport(r io.Reader) (*Report, error) { return report.Read(r) }

// ReadFile reads the report of a file, see ReadReport.
func ReadFile(path string) (*Report, error) { return report.ReadFile(path) }

// What answers probes; see package reflector.
type (
	Reflector = reflector.Reflector
	Service   = reflector.Service
)

// NewReflector returns a reflector with the limits by default.
func NewReflector(log logrus.FieldLogger) *Reflector { return reflector.New(log, reflector.Limits{}) }

// Listen opens the two sockets of a reflector, both on the same port. Port 0 takes
// one that is free for both.
func Listen(addr string) (*net.UDPConn, net.Listener, error) { return reflector.Listen(addr) }

// Serve listens and answers probes until ctx is cancelled, which is no error,
// or a socket fails. It logs the address.
func Serve(ctx context.Context, s Service, log logrus.FieldLogger) error {
	return reflector.Serve(ctx, s, log)
}

// PacketSize is the size in bytes of a probe and of its answer.
const PacketSize = wire.PacketSize
