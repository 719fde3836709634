package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/resource/hostproc/local"
)

// Exit codes. The unit does not restart the daemon after exitUsage: only an
// operator can mend that.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
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

Hold the shutdown of this node until its virtual machines have left.

  --config FILE    read FILE (default ` + defaultConfig + `)
  --check-config   read the configuration, report, and exit
  --version        print the version and exit
`

func main() {
	// libvirt's event loop waits in C, where Go's monitor thread looks at it every 20 µs after each event, for as long as
	// another processor is idle: 0.8 ms of processor time for an event, in the middle of a guest's pause. With one
	// there is none.
	runtime.GOMAXPROCS(1)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings passed in; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	stdout, stderr = plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr}
	flags := flag.NewFlagSet("vmferryd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	path := flags.String("config", defaultConfig, "")
	check := flags.Bool("check-config", false, "")
	version := flags.Bool("version", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "vmferryd: %v; see vmferryd --help\n", err)
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "vmferryd: unexpected argument %q; see vmferryd --help\n", flags.Arg(0))
		return exitUsage
	case *version:
		fmt.Fprintln(stdout, "vmferryd", buildVersion())
		return exitOK
	}
	return configured(*path, *check, stdout, stderr)
}

// configured goes on once the command line is understood.
func configured(path string, check bool, stdout, stderr io.Writer) int {
	config, err := LoadConfig(path)
	if err != nil {
		fmt.Fprintf(stderr, "vmferryd: %v\n", err)
		if !check {
			notify("STATUS=bad configuration: " + err.Error())
		}
		return exitUsage
	}
	if check {
		fmt.Fprintf(stdout, "%s: ok\n", path)
		return exitOK
	}
	log := newLogger(stderr, os.Getenv("JOURNAL_STREAM") != "")
	if err := live(context.Background(), config, log); err != nil {
		log.WithError(err).Error("vmferryd ends")
		return exitError
	}
	return exitOK
}

// live runs the daemon until it is asked to stop.
func live(ctx context.Context, c Config, log logrus.FieldLogger) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read the watchdog's interval: %w", err)
	}
	desk, tell := newDesk(c.GuestsDir, log), newTeller(c)
	loop := shutdown.New(shutdown.Options{
		Manager:    newManager(c),
		Guests:     witnesses{dir: c.GuestsDir, list: local.List},
		System:     logind.System{},
		Intent:     shutdown.DaemonIntent(c.StateDir),
		Notify:     notify,
		Log:        log,
		Window:     c.Window,
		StopWindow: stopWindow(ctx, c, log),
		Poll:       c.Poll,
		Proceed:    logind.System{}.Proceed,
		Deadline:   deadline(c, desk),
		Foretell:   tell.foretell,
		Trace:      tell.trace,
		Claims:     tell.claims,
	})
	warnOfLibvirt(log)
	ear := &logind.Keeper{Who: "vmferryd", Why: "moving the virtual machines off this node", Tell: loop.Tell, Log: log}
	return serve(ctx, func() { notify(daemon.SdNotifyReady) },
		loop, ear, newMonitorTask(c.StateDir, desk, log), announceTask{c.StateDir, log}, signalTask{loop.Stop},
		outlookTask{teller: tell, every: c.Forecast, tell: loop.Outlook, busy: desk.Busy, log: log},
		watchdogTask{every: every / 2, alive: loop.Alive, notify: notify})
}

// warnOfLibvirt says that libvirt itself acts on the guests at a shutdown: it begins when the drain does.
func warnOfLibvirt(log logrus.FieldLogger) {
	auto, err := logind.System{}.QEMUAutoShutdown()
	switch {
	case err != nil:
		log.WithError(err).Warn("it cannot be told whether libvirt acts on guests at a shutdown: one that libvirt holds is waited for")
	case auto.Transient:
		log.Warnf("libvirt stops guests by itself the moment a shutdown is announced, also those that are about to move (%s): "+
			"set that to \"none\" or \"persistent\" in %s and type: systemctl try-restart virtqemud libvirtd",
			strings.Join(auto.Settings, ", "), auto.File)
	}
}

// stopWindow is how long a stop may go on draining.
func stopWindow(ctx context.Context, c Config, log logrus.FieldLogger) time.Duration {
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

// notify tells systemd one thing, whatever the text in it holds; where there is none to tell, nothing is lost.
func notify(state string) { _, _ = daemon.SdNotify(false, plaintext.Line(state)) }

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}
