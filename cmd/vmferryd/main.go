package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/prediction"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/version"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
)

// Exit codes. The unit does not restart the daemon after exitConfig (EX_CONFIG of sysexits.h): only an operator can
// mend that. It is not 2, with which a Go program ends that crashes or that systemd's watchdog aborts.
const (
	exitOK     = 0
	exitError  = 1
	exitUsage  = 2
	exitConfig = 78
)

const (
	// stopMargin is what the drain stays below TimeoutStopSec, so that the
	// daemon ends by itself and is not killed.
	stopMargin = 5 * time.Second
	// stopFallback is the window of a stop where no unit sets a time: what
	// systemd grants by default, less the margin.
	stopFallback = 85 * time.Second
	// askTimeout bounds the questions put to systemd at the start.
	askTimeout = 10 * time.Second
)

const usage = `usage: vmferryd [--config FILE]
       vmferryd [--config FILE] --check-config
       vmferryd --version

Delay the shutdown of this node until its virtual machines are migrated.

  --config FILE    read FILE (default ` + config.Path + `)
  --check-config   read the configuration, report, and exit
  --version        print the version and exit
`

func main() {
	// libvirt's event loop waits in C, where Go's monitor thread looks at it every 20 µs after each event, for as long
	// as another processor is idle: 0.8 ms of processor time for an event, in the middle of a guest's pause. With one
	// there is none.
	runtime.GOMAXPROCS(1)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the command line says.
type options struct {
	config         string
	check, version bool
}

func (o *options) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("vmferryd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.config, "config", config.Path, "")
	flags.BoolVar(&o.check, "check-config", false, "")
	flags.BoolVar(&o.version, "version", false, "")
	return flags
}

func bashCompletion() string {
	return completion.Program{Name: "vmferryd", Verbs: []completion.Verb{{Flags: new(options).flags()}},
		Values: map[string]string{"config": completion.Files}}.Bash()
}

// run is main with its surroundings passed in; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	stdout, stderr = plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr}
	var o options
	flags := o.flags()
	if completion.Asked(args) {
		fmt.Fprint(stdout, bashCompletion())
		return exitOK
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "vmferryd: %v: type vmferryd --help\n", err)
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "vmferryd: unexpected argument %q: type vmferryd --help\n", flags.Arg(0))
		return exitUsage
	case o.version:
		fmt.Fprintln(stdout, "vmferryd", version.String())
		return exitOK
	}
	return configured(o.config, o.check, stdout, stderr)
}

// configured continues once the command line is understood.
func configured(path string, check bool, stdout, stderr io.Writer) int {
	c, err := config.Load(path)
	if err != nil {
		fmt.Fprintf(stderr, "vmferryd: %v\n", err)
		if !check {
			notify("STATUS=bad configuration: " + err.Error())
		}
		return exitConfig
	}
	if check {
		fmt.Fprintf(stdout, "%s: ok\n", path)
		return exitOK
	}
	log := newLogger(stderr, os.Getenv("JOURNAL_STREAM") != "")
	if err := live(context.Background(), c, log); err != nil {
		log.WithError(err).Error("vmferryd ends")
		return exitError
	}
	return exitOK
}

// live runs the daemon until it is asked to stop.
func live(ctx context.Context, c config.Config, log logrus.FieldLogger) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read the watchdog's interval: %w", err)
	}
	queue, predictor := newQueue(c.GuestsDir, log), prediction.New(sources(c))
	loop := shutdown.New(shutdown.Options{
		Manager:    managers.Any(managers.Configured(c)),
		Here:       here(c),
		Stopping:   logind.System{}.Stopping,
		Intent:     shutdown.DaemonIntent(c.StateDir),
		Notify:     notify,
		Log:        log,
		Window:     c.Window,
		StopWindow: stopWindow(ctx, c, log),
		Poll:       c.Poll,
		Proceed:    logind.System{}.Proceed,
		Deadline:   deadline(c, queue),
		Predict:    predictor.AtShutdown,
		Trace:      predictor.Trace,
		Claims:     predictor.Claims,
	})
	warnOfLibvirt(log)
	lock := &logind.DelayLock{Who: "vmferryd", Why: "moving the virtual machines off this node", Report: loop.Handle,
		Log: log}
	return serve(ctx, func() { notify(daemon.SdNotifyReady) },
		task{"drain", loop.Run, loop.Ready()}, task{name: "logind", run: lock.Run}, monitors(c.StateDir, queue, log),
		task{name: "announcements", run: announceTask{c.StateDir, log}.Run}, signals(loop.Stop),
		task{name: "prediction", run: prediction.Watch{Predictor: predictor, Every: c.Forecast, Status: loop.Outlook,
			Busy: queue.Busy, Log: log}.Run}, watchdog(every/2, loop.Alive))
}

// here lists the guests that have a process on this node.
func here(c config.Config) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) { return notes.Present(ctx, c.GuestsDir, local.List) }
}

// deadline has the queue keep the window that an operator has set: then a guest that would leave too
// late is shut down in time and started elsewhere. Where none is set, what has not
// left when logind waits no longer continues moving while the cluster manager stops.
func deadline(c config.Config, queue *admission.Server) func(time.Time) {
	if c.Window <= 0 {
		return nil
	}
	return queue.SetDeadline
}

// hangingMost is how many questions to one libvirt may hang. Its daemon has 20 workers, which its own node needs.
const hangingMost = 16

// sources are what predictions are made of.
func sources(c config.Config) prediction.Sources {
	return prediction.Sources{
		Managers: func() []hbplugin.Cluster { return managers.Configured(c) },
		Notes:    func() ([]notes.Guest, error) { return notes.GuestsIn(c.GuestsDir).All() },
		Here:     here(c),
		Records: func() ([]record.Record, error) {
			return history.ReadRecords(filepath.Join(notes.DefaultStateDir, history.RecordsFile))
		},
		Open: client.Sparing(hangingMost, client.Opener(func(c *client.Conn) endpoint.Host { return c })),
		Run:  command.Execute(os.Environ()),
	}
}

// warnOfLibvirt says that libvirt itself acts on the guests at a shutdown: it begins when the drain does.
func warnOfLibvirt(log logrus.FieldLogger) {
	auto, err := logind.System{}.QEMUAutoShutdown()
	switch {
	case err != nil:
		log.WithError(err).Warn("cannot tell whether libvirt stops guests at a shutdown, which waits while libvirt " +
			"has its delay lock: check auto_shutdown_poweroff in /etc/libvirt/qemu.conf")
	case auto.Transient:
		log.Warnf("libvirt stops guests by itself the moment a shutdown is announced, also those that are about to "+
			"move (%s): "+
			"set that to \"none\" or \"persistent\" in %s and type: systemctl try-restart virtqemud libvirtd",
			strings.Join(auto.Settings, ", "), auto.File)
	}
}

// stopWindow is how long a stop may continue draining.
func stopWindow(ctx context.Context, c config.Config, log logrus.FieldLogger) time.Duration {
	if c.StopWindow > 0 {
		return c.StopWindow
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	limit, err := logind.System{}.StopTimeout(ctx)
	if err != nil {
		log.WithError(err).Infof("systemd sets no time for a stop, taking %s", stopFallback)
		return stopFallback
	}
	return max(limit-stopMargin, limit/2)
}

// notify tells systemd one thing, whatever the text in it holds; where there is no systemd, nothing is lost.
func notify(state string) { _, _ = daemon.SdNotify(false, plaintext.Line(state)) }

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
