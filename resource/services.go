package resource

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// services asks what a guest serves, by the parameters monitor_scripts and check_*.
type services struct {
	scripts []string
	checks  param.Checks
	run     command.Runner
	ping    func(ctx context.Context) error // asks the guest agent
	log     logrus.FieldLogger
}

// runScripts runs the scripts until one fails.
func (s services) runScripts(ctx context.Context) error {
	for _, script := range s.scripts {
		out, err := s.run(ctx, script)
		switch {
		case err == nil:
			s.log.Debugf("monitor script %q succeeded: %s", script, command.LastLine(out))
		case errors.Is(err, context.DeadlineExceeded):
			return ocf.Errorf(ocf.Generic,
				"monitor script %q timed out: %s", script, cmp.Or(command.LastLine(out), "no output"))
		default:
			return ocf.Wrapf(ocf.Generic, command.Explain(out, err), "monitor script %q failed", script)
		}
	}
	return nil
}

// runChecks asks each service until one fails. Each gets the time of check_timeout.
func (s services) runChecks(ctx context.Context) error {
	one := func(ask func(context.Context) error, format string, args ...any) error {
		ctx, cancel := context.WithTimeout(ctx, s.checks.Timeout)
		defer cancel()
		if err := ask(ctx); err != nil {
			return ocf.Wrapf(ocf.Generic, err, format, args...)
		}
		return nil
	}
	for _, address := range s.checks.TCP {
		ask := func(ctx context.Context) error { return checkTCP(ctx, address) }
		if err := one(ask, "check_tcp: %s does not accept connections", address); err != nil {
			return err
		}
	}
	for _, address := range s.checks.UDP {
		ask := func(ctx context.Context) error { return checkUDP(ctx, address) }
		if err := one(ask, "check_udp: %s does not answer", address); err != nil {
			return err
		}
	}
	if !s.checks.Agent {
		return nil
	}
	return one(s.ping, "check_agent: the guest agent does not answer")
}

func checkTCP(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// resend is when a datagram that was not answered is sent again: it may have been lost.
const resend = time.Second

func checkUDP(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 1)
	for {
		if _, err := conn.Write([]byte("vmferry\n")); err != nil {
			return err
		}
		until := time.Now().Add(resend)
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
			until = deadline
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return err
		}
		_, err := conn.Read(buf)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
}
