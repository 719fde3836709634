package probe

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/outage"
)

// While as many exchanges as may be are under way, probes fail at once.
func TestExchangesAreBounded(t *testing.T) {
	x := newExchangeProber(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, time.Hour,
		func() time.Duration { return 0 })
	x.track = outage.New(outage.Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond,
		Bucket: time.Second})
	for i := range maxExchanges + 10 {
		x.tick(time.Duration(i)*time.Millisecond, 0)
	}
	x.close()
	got := x.track.Report("connect://x:1", endpoint.Connect, outage.Calendar{}, time.Second)
	if got.SendErrors != 10 || got.Refused != maxExchanges || !x.idle() {
		t.Errorf("%d failed, %d refused; want 10 and %d", got.SendErrors, got.Refused, maxExchanges)
	}
}

// The header of an HTTP answer is not read without end.
func TestAnHTTPHeaderHasALimit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			w.Header().Set("X", strings.Repeat("x", maxHeader))
		}
	}))
	defer server.Close()
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	for path, good := range map[string]bool{"/": true, "/long": false} {
		e, err := endpoint.Parse(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := requestOnce(e, at, false)(t.Context()); (err == nil) != good {
			t.Errorf("%s: %v", path, err)
		}
	}
}
