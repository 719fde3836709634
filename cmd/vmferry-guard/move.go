package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/guard/evacuate"
	"github.com/vmferry/vmferry/hbplugin/guard/guardd"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/recorded"
	"github.com/vmferry/vmferry/migrate/relay"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

// runMove migrates the guests in a process of its own.
func runMove(ctx context.Context, to string) error { return moveError(runSelf(ctx, "--move", to)) }

// moveError is the error of that process, which wrote out.
func moveError(out string, err error) error {
	var exit *exec.ExitError
	switch _, said, _ := strings.Cut(out, "vmferry-guard: "); {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == exitStuck:
		return fmt.Errorf("%w: %s", guardd.ErrStuck, strings.TrimSpace(said))
	}
	return fmt.Errorf("%w: %s", err, out)
}

// stuck is the error of guests of which another try would move none.
type stuck struct{ error }

// errorOfMoves is what the moves have come to.
func errorOfMoves(err error) error {
	if err == nil || errors.Is(err, evacuate.ErrFailed) {
		return err
	}
	return stuck{err}
}

// asMover is that process.
func asMover(ctx context.Context, o options, log *logrus.Logger) error {
	general, err := config.LoadKnown(config.Path)
	if err != nil {
		return err
	}
	noted, err := notes.GuestsIn(general.GuestsDir).All()
	if err != nil {
		log.WithError(err).Error("some guests are not moved, as what the agent has noted of them cannot be read")
	}
	moves := recorded.Moves{StateDir: notes.DefaultStateDir, Log: log}
	move := func(ctx context.Context, m param.Move) error {
		deps := migrate.Deps{Open: client.Opener(func(c *client.Conn) endpoint.Host { return c })}
		local.SetDeps(&deps, local.Of(m.SourceURI))
		if m.Relay {
			deps.Relay = func(guest, domainXML string) (migrate.Relay, error) {
				return relay.Open(guest, domainXML, log)
			}
		}
		_, err := moves.Move(ctx, m.Request, deps, m.Watch)
		return err
	}
	with := evacuate.Means{Run: command.Execute(os.Environ()), Reach: evacuate.Reach, Move: move}
	return errorOfMoves(evacuate.All(ctx, claimed(ctx, managers.Configured(general), log), noted, o.move, with))
}

// askTime is how long the cluster managers have to say what they run: after that the notes of the agent decide. The
// guests have seconds.
const askTime = time.Second

// claimed are the guests that the cluster managers of this node are configured to run, as far as they say so in time.
func claimed(ctx context.Context, all []hbplugin.Cluster, log logrus.FieldLogger) (claims []hbplugin.Claim) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for _, m := range inventory.Managers(ctx, all) {
		more, err := managers.Ask(ctx, m.Claims)
		if err != nil {
			log.WithError(err).Warn("the cluster manager does not answer: the guests are moved by what the agent has noted")
		}
		claims = append(claims, more...)
	}
	return claims
}
