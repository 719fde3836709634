package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout/reflector"
	"github.com/vmferry/vmferry/migrate/plaintext"
)

// nobody is who a reflector becomes when it is started as root.
const nobody = "65534"

// serve runs a reflector until it is interrupted.
func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	service, err := serveFlags(args)
	if err != nil {
		return err
	}
	log := logrus.New()
	log.SetOutput(plaintext.Writer{To: stderr})
	return reflector.Serve(ctx, service, log)
}

// serveFlags turns the command line into what the library wants.
func serveFlags(args []string) (reflector.Service, error) {
	var s reflector.Service
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&s.Listen, "listen", reflector.DefaultListen, "")
	user := fs.String("user", nobody, "")
	fs.IntVar(&s.Limits.Clients, "max-clients", reflector.DefaultClients, "")
	fs.IntVar(&s.Limits.ClientsPerAddress, "max-clients-per-address", reflector.DefaultClientsPerAddress, "")
	fs.IntVar(&s.Limits.Rate, "max-rate", reflector.DefaultRate, "")
	fs.IntVar(&s.Limits.Connections, "max-connections", reflector.DefaultConnections, "")
	fs.IntVar(&s.Limits.ConnectionsPerAddress, "max-connections-per-address",
		reflector.DefaultConnectionsPerAddress, "")
	rest, err := parse(fs, args)
	if err != nil {
		return s, err
	}
	if len(rest) > 0 {
		return s, misuse("serve: unexpected argument %q", rest[0])
	}
	if err := positive(fs); err != nil {
		return s, err
	}
	if err := checkListen(s.Listen); err != nil {
		return s, err
	}
	if err := s.Limits.Validate(); err != nil {
		return s, misuse("serve: %w", err)
	}
	uid, gid, err := parseUser(*user)
	if err != nil {
		return s, err
	}
	if os.Getuid() == 0 {
		s.Drop = func() error { return become(uid, gid) }
	}
	return s, nil
}

// parseUser reads UID or UID:GID. Names are not looked up: where the reflector
// runs there may be no list of users.
func parseUser(text string) (uid, gid int, err error) {
	user, group, ok := strings.Cut(text, ":")
	if !ok {
		group = user
	}
	u, err := strconv.ParseUint(user, 10, 31)
	g, bad := strconv.ParseUint(group, 10, 31)
	if err != nil || bad != nil {
		return 0, 0, misuse("serve: --user %q is not UID or UID:GID in numbers", text)
	}
	return int(u), int(g), nil
}

// become changes the user of all threads, permanently.
func become(uid, gid int) error {
	if uid == 0 {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("setgid %d: %w", gid, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("setuid %d: %w", uid, err)
	}
	return nil
}

func checkListen(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return misuse("serve: --listen %q is not HOST:PORT with a port up to 65535", addr)
	}
	return nil
}
