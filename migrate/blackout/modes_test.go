package blackout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
)

// echoUDP is the echo service of RFC 862, over UDP.
func echoUDP(t *testing.T, network, addr string) string {
	t.Helper()
	conn, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	return conn.LocalAddr().String()
}

// echoTCP is the echo service of RFC 862, over TCP.
func echoTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	return l.Addr().String()
}

// nameServer answers every question with a response code.
func nameServer(t *testing.T, code byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2], buf[3] = buf[2]|0x80, code
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	return conn.LocalAddr().String()
}

// brief runs Watch on some targets until all have answered so often.
func brief(t *testing.T, cfg Config, answers uint64) *Report {
	t.Helper()
	ctx, cancel := deadline(t)
	cfg.Interval, cfg.ProgressEvery = max(cfg.Interval, 2*time.Millisecond), 5*time.Millisecond
	cfg.Progress = func(state []Progress) {
		for _, p := range state {
			if p.Answered < answers {
				return
			}
		}
		cancel()
	}
	report, err := Watch(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Check(); err != nil {
		t.Error(err)
	}
	return report
}

func TestModes(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	plain, secure := httptest.NewServer(page), httptest.NewTLSServer(page)
	defer plain.Close()
	defer secure.Close()
	targets := []string{
		"udp://" + echoUDP(t, "udp4", "127.0.0.1:0"),
		"tcp://" + echoTCP(t),
		"connect://" + echoTCP(t),
		plain.URL + "/page",
		secure.URL + "/page",
		"dns://" + nameServer(t, 3) + "/nobody.example",
	}
	for _, got := range brief(t, Config{Targets: targets, Insecure: true}, 20).Targets {
		if got.Directed || got.Lost != 0 || got.LostOut+got.LostBack != 0 || got.RTT.N != got.Answered ||
			got.RTT.P50 <= 0 {
			t.Errorf("%s: directed %v, lost %d, round trips %+v", got.Target, got.Directed, got.Lost, got.RTT)
		}
		if want, _, _ := strings.Cut(got.Target, ":"); got.Proto != want {
			t.Errorf("%s: proto %q", got.Target, got.Proto)
		}
	}
}

func TestIPv6(t *testing.T) {
	conn, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	_ = conn.Close()
	addr := reflectortest.StartAt(t, "[::1]:0")
	targets := []string{"udp://" + addr, "tcp://" + addr, "udp://" + echoUDP(t, "udp6", "[::1]:0")}
	for i, got := range brief(t, Config{Targets: targets, Family: 6}, 20).Targets {
		if got.Lost != 0 || got.Directed != (i < 2) {
			t.Errorf("%s: lost %d, directed %v", got.Target, got.Lost, got.Directed)
		}
	}
	if _, err := Watch(context.Background(), Config{Targets: targets, Family: 4}); err == nil ||
		!strings.Contains(err.Error(), "no IPv4 address") {
		t.Errorf("IPv4 alone: %v", err)
	}
}

func TestICMP(t *testing.T) {
	report, err := func() (*Report, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		return Watch(ctx, Config{Targets: []string{"icmp://127.0.0.1"}, Interval: 2 * time.Millisecond})
	}()
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		if os.Getuid() == 0 || !strings.Contains(err.Error(), "ping_group_range") {
			t.Errorf("the error does not say what to do: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Targets[0]; got.Answered == 0 || got.Duplicates != 0 {
		t.Errorf("answered %d, duplicates %d", got.Answered, got.Duplicates)
	}
}

// A service that is there and says that it cannot serve is out.
func TestServicesThatFail(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer broken.Close()
	targets := []string{broken.URL, "dns://" + nameServer(t, 2) + "/a.example", "connect://127.0.0.1:1"}
	report, err := Watch(context.Background(), Config{
		Targets: targets, For: 50 * time.Millisecond, Linger: 20 * time.Millisecond, Interval: 2 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range report.Targets {
		if got.Answered != 0 || got.Sent == 0 || got.Availability != 0 {
			t.Errorf("%s: %d of %d answered", got.Target, got.Answered, got.Sent)
		}
	}
}

// A reflector on every address answers from the one that was asked.
func TestManyTargetsAndBursts(t *testing.T) {
	var targets []string
	for _, addr := range []string{reflectortest.StartAt(t, ":0"), reflectortest.StartAt(t, "0.0.0.0:0")} {
		_, port, _ := net.SplitHostPort(addr)
		for i := range 50 {
			targets = append(targets, fmt.Sprintf("udp://127.0.1.%d:%s", i+1, port))
		}
	}
	report := brief(t, Config{Targets: targets, Burst: 5, Interval: 40 * time.Millisecond}, 25)
	for _, got := range report.Targets {
		if got.Lost != 0 || !got.Directed || got.Instances != 1 || got.Sent%5 != 0 {
			t.Errorf("%s: sent %d, lost %d, instances %d", got.Target, got.Sent, got.Lost, got.Instances)
		}
	}
	if len(report.Faults) > 0 && report.Faults[len(report.Faults)-1].Ms >= 499 {
		t.Errorf("waiting for the last answers is reported as a fault: %+v", report.Faults)
	}
}

// A service that takes requests and does not answer is out, and what is under way
// does not pile up.
func TestServicesThatHang(t *testing.T) {
	release := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hang.Close()
	defer close(release)
	report, err := Watch(context.Background(), Config{
		Targets: []string{hang.URL}, For: 150 * time.Millisecond, Linger: 100 * time.Millisecond,
		Interval: 2 * time.Millisecond, ConnectTimeout: 30 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Targets[0]; got.Answered != 0 || got.Refused == 0 || !got.Outages[0].Open {
		t.Errorf("answered %d, refused %d, outages %+v", got.Answered, got.Refused, got.Outages)
	}
}
