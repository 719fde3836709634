package main

import (
	"errors"
	"path"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/lab/guest/light"
)

// service is a process that is started again whenever it ends.
type service struct {
	name  string
	start func() (pid int, err error)
	pid   int // 0: it does not run
}

// services are what the guest offers.
func services(cfg config) []*service {
	all := []*service{
		{name: "light reflector", start: func() (int, error) { return light.Start(cfg.at(lightPort)) }},
		program([]string{"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=24MiB", "HOME=/"},
			"/blackout", "serve", "--listen", cfg.at(blackoutPort).String()),
	}
	if cfg.game {
		all = append(all, program([]string{"HOME=/game"}, "/game/server", "sv_register 0", "sv_map dm1",
			"bindaddr "+cfg.addr.Addr().String(), "sv_port "+strconv.Itoa(gamePort)))
	}
	if cfg.database != "" {
		all = append(all, program([]string{"HOME=/"}, databaseServer()...))
	}
	return all
}

// program is a service that is a program of its own. It runs in its own folder and writes to the console.
func program(env []string, argv ...string) *service {
	attr := &syscall.ProcAttr{Dir: path.Dir(argv[0]), Env: env, Files: []uintptr{0, 2, 2}}
	return &service{name: argv[0], start: func() (int, error) { return syscall.ForkExec(argv[0], argv, attr) }}
}

// supervise keeps the services running. As process 1 it also collects the children that others left behind. It stays
// on one thread, as the light reflector lives no longer than the thread that started it, and does not return.
func supervise(name string, all []*service) {
	runtime.LockOSThread()
	for {
		for _, line := range round(all) {
			say("vmferry guest " + name + ": " + line)
		}
		time.Sleep(retryPause)
	}
}

// round starts what does not run, waits until a child has ended, and returns what there is to say. It does not wait
// while something could not be started.
func round(all []*service) (lines []string) {
	options := 0
	for _, s := range all {
		if s.pid != 0 {
			continue
		}
		pid, err := s.start()
		if err != nil {
			lines = append(lines, "start "+s.name+": "+err.Error())
			options = syscall.WNOHANG
			continue
		}
		s.pid = pid
	}
	ended, err := syscall.Wait4(-1, nil, options, nil)
	for errors.Is(err, syscall.EINTR) {
		ended, err = syscall.Wait4(-1, nil, options, nil)
	}
	for _, s := range all {
		if err == nil && ended != 0 && s.pid == ended {
			s.pid = 0
			lines = append(lines, s.name+" ended, starting it again")
		}
	}
	return lines
}
