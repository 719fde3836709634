package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// serve runs a reflector until it is interrupted.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := fs.String("listen", blackout.DefaultListen, "")
	rest, err := parse(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		return say(stdout, usage)
	}
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse(fmt.Errorf("serve: unexpected argument %q", rest[0]))
	}
	if err := checkListen(*listen); err != nil {
		return misuse(err)
	}
	log := logrus.New()
	log.SetOutput(stderr)
	return blackout.Serve(ctx, *listen, log)
}

func checkListen(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("serve: --listen %q is not HOST:PORT with a port up to 65535", addr)
	}
	return nil
}
