package blackout_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/reflector"
)

// serve runs a reflector on loopback until stop is called.
func serve() (addr string, stop func() error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	udp, tcp, err := reflector.Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	_ = tcp.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reflector.New(log, reflector.Limits{}).ServeUDP(ctx, udp) }()
	return udp.LocalAddr().String(), func() error { cancel(); return <-done }
}

// Watch a service until its hundredth answer, and print what its clients saw.
func ExampleWatch() {
	addr, stop := serve()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	report, err := blackout.Watch(ctx, blackout.Config{
		Targets: []string{"udp://" + addr},
		Progress: func(state []blackout.Progress) {
			if state[0].Answered >= 100 {
				cancel()
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	t := report.Targets[0]
	fmt.Printf("answered at least 100 times: %v\n", t.Answered >= 100)
	fmt.Printf("it is known which way probes were lost: %v\n", t.Directed)
	fmt.Println("stopped:", stop())
	// Output:
	// answered at least 100 times: true
	// it is known which way probes were lost: true
	// stopped: <nil>
}

// A configuration can be checked before anything is sent.
func ExampleConfig_Validate() {
	fmt.Println(blackout.Config{Targets: []string{"udp://192.0.2.1"}}.Validate())
	fmt.Println(blackout.Config{Targets: []string{"udp://192.0.2.1:7007"}}.Validate())
	// Output:
	// target "udp://192.0.2.1" is not udp://HOST:PORT
	// <nil>
}

// A report that was written as JSON names each outage.
func ExampleReadReport() {
	report, err := blackout.ReadReport(strings.NewReader(`{
		"schema": 1, "interval_ms": 1, "complete": true,
		"start": "2026-01-02T03:04:05Z", "end": "2026-01-02T03:04:15Z",
		"targets": [{
			"target": "connect://192.0.2.1:22", "proto": "connect", "sent": 10000, "answered": 9750, "lost": 250,
			"blackout_ms": 250, "error_ms": 1, "dark_ms": 250, "availability": 0.975,
			"outages": [{"start": "2026-01-02T03:04:06Z", "end": "2026-01-02T03:04:06.25Z", "ms": 250, "error_ms": 1, "lost": 250}]
		}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range report.Targets[0].Outages {
		fmt.Printf("%s: %v ms ± %v, %s\n", o.Start.Format("15:04:05"), o.Ms, o.ErrorMs, o.How())
	}
	// Output:
	// 03:04:06: 250 ms ± 1, lost
}
