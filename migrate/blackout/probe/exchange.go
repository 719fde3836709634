package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// maxExchanges bounds how many exchanges with a target are under way at once;
// while there are so many, further probes fail.
const maxExchanges = 512

// maxBody is how much of an HTTP answer is read, so that its connection can be
// used again.
const maxBody = 64 << 10

// maxHeader is how many bytes an HTTP answer may spend on its header.
const maxHeader = 64 << 10

// exchange asks an ordinary service once; nil means that it answered.
type exchange func(ctx context.Context) error

// exchangeProber probes a target by exchanges that do not wait for each other.
// Go's own network code reports their ends: how late it may do so is taken
// from how late the loop's own timer is.
type exchangeProber struct {
	target
	ask     exchange
	late    func() time.Duration
	ctx     func() (context.Context, context.CancelFunc)
	stop    context.CancelFunc
	running atomic.Int64
	wait    sync.WaitGroup
}

// newExchangeProber returns a prober that gives each exchange so much time.
// late is how late events are noticed just now.
func newExchangeProber(ask exchange, timeout time.Duration, late func() time.Duration) *exchangeProber {
	all, stop := context.WithCancel(context.Background())
	return &exchangeProber{
		ask: ask, late: late, stop: stop,
		ctx: func() (context.Context, context.CancelFunc) { return context.WithTimeout(all, timeout) },
	}
}

// tick implements prober.
func (x *exchangeProber) tick(now time.Duration, skipped uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	seq := x.track.Send(now, skipped)
	if x.running.Load() >= maxExchanges {
		x.track.Note(outage.NotSent)
		return
	}
	x.running.Add(1)
	x.wait.Go(func() { x.once(seq, now) })
	x.track.Sent(seq, x.clock.now())
}

// once is one exchange.
func (x *exchangeProber) once(seq uint64, sent time.Duration) {
	defer x.running.Add(-1)
	ctx, cancel := x.ctx()
	defer cancel()
	err := x.ask(ctx)
	lateness := x.late()
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil {
		x.track.Note(outage.Refused)
		return
	}
	x.answered(wire.Packet{Kind: wire.Probe, Seq: seq, Sent: sent}, time.Time{}, false, lateness)
}

// ready implements prober: there is nothing in epoll.
func (x *exchangeProber) ready(int, uint32, time.Duration) {}

// idle implements prober.
func (x *exchangeProber) idle() bool { return x.running.Load() == 0 }

// close implements prober.
func (x *exchangeProber) close() {
	x.stop()
	x.wait.Wait()
}

// connectOnce opens a TCP connection and closes it with a reset, so that
// thousands of them leave nothing behind.
func connectOnce(at netip.AddrPort) exchange {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", at.String())
		if err != nil {
			return err
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		return conn.Close()
	}
}

// requestOnce returns an exchange of one HTTP request. The name was resolved
// before and is not again; redirects are answers and are not followed; an
// answer of the class 5xx is a failure of the service.
func requestOnce(e endpoint.Endpoint, at netip.AddrPort, insecure bool) exchange {
	var d net.Dialer
	secure := &tls.Config{InsecureSkipVerify: insecure}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return d.DialContext(ctx, network, at.String())
			},
			TLSClientConfig:     secure,
			MaxIdleConnsPerHost: socket.BatchSize,
			DisableCompression:  true,

			MaxResponseHeaderBytes: maxHeader,
		},
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Name, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "blackout")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if _, err := io.CopyN(io.Discard, res.Body, maxBody); err != nil && err != io.EOF {
			return err
		}
		if res.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("status %s", res.Status)
		}
		return nil
	}
}
