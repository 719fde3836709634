package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// silentTime is how long a target gives no answer until it is given up. It is longer than what a busy host, a
	// bridge's table or a new route needs, and half of what libvirt's daemons themselves allow each other, who
	// give up after that: so no move is given up that could have gone through.
	silentTime = 15 * time.Second
	// silentEvery is between two questions to the target.
	silentEvery = 3 * time.Second
)

// watchTarget asks the target again and again whether it is there. lost gets why to give up, at most once. The
// connections that target and source have are in use: it makes its own.
func watchTarget(
	ctx context.Context, target, source *endpoint.Endpoint, guest string,
) (lost <-chan error, stop func()) {
	ctx, stop = context.WithCancel(ctx)
	out := make(chan error, 1)
	go awaitSilence(ctx, separate(target), separate(source), guest, out)
	return out, stop
}

// awaitSilence sends once the target has been silent for silentTime, from the first question that it did not answer,
// and returns then or at the end of ctx. What cannot be asked of the source either counts for nothing: then this
// node is so busy that no answer reaches us.
func awaitSilence(ctx context.Context, target, source endpoint.Endpoint, guest string, lost chan<- error) {
	defer target.Close()
	defer source.Close()
	var since time.Time // zero while it answers
	for asked := time.Now(); ; asked = time.Now() {
		err := target.Observe(ctx, guest).Err
		switch {
		case ctx.Err() != nil:
			return
		case answered(err), !answered(source.Observe(ctx, guest).Err):
			since = time.Time{}
		case since.IsZero():
			since = asked
		case asked.Sub(since) >= silentTime:
			lost <- fmt.Errorf("%w for %v: %w", ErrTargetSilent, asked.Sub(since).Round(time.Second), err)
			return
		}
		if wait.For(ctx, silentEvery-time.Since(asked)) != nil {
			return
		}
	}
}

// unreached are what the kernel says of a host that does not answer. libvirt has it in its text alone, and so has the
// ssh that it may use.
var unreached = []syscall.Errno{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ETIMEDOUT}

// answered reports whether what came of a question shows that the host asked is there. A connection that it
// refuses does, as while its libvirtd is started again: whether the migration outlives that is not ours to judge. A
// libvirtd that takes a connection and then says nothing does not: the source's daemon gives it up as well.
func answered(err error) bool {
	if err == nil || errors.Is(err, libvirt.ErrNoDomain) {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	text := strings.ToLower(err.Error())
	return !slices.ContainsFunc(unreached, func(no syscall.Errno) bool { return strings.Contains(text, no.Error()) })
}
