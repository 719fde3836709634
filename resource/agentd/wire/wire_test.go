package wire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/resource/ocf"
)

func TestNewRequestTakesWhatBelongsToTheAgent(t *testing.T) {
	got := NewRequest("monitor", []string{"PATH=/bin", "OCF_ROOT=/usr/lib/ocf", "HA_debug=1", "OCF_RESKEY_config=/a=b",
		"OCF_BARE", "XOCF_A=1"})
	want := Request{Schema: 1, Action: "monitor",
		Environ: []string{"OCF_ROOT=/usr/lib/ocf", "HA_debug=1", "OCF_RESKEY_config=/a=b"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	line, err := Encode(got)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeRequest(line); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestDecodeRequestRefuses(t *testing.T) {
	for _, c := range []struct{ name, line, words string }{
		{"nothing", "", "unexpected end"},
		{"no JSON", "monitor\n", "invalid character"},
		{"no schema", `{"action":"monitor"}`, "schema is 0"},
		{"later schema", `{"schema":2,"action":"monitor"}`, "restart vmferryd"},
		{"a change", `{"schema":1,"action":"stop"}`, `action "stop" is not the daemon's`},
		{"no action", `{"schema":1}`, `action ""`},
		{"foreign variable", `{"schema":1,"action":"monitor","environ":["LD_PRELOAD=/x"]}`, "LD_PRELOAD"},
		{"no variable", `{"schema":1,"action":"monitor","environ":["OCF_ROOT"]}`, "OCF_ROOT"},
		{"NUL", `{"schema":1,"action":"monitor","environ":["OCF_A=a\u0000b"]}`, "OCF_A"},
		{"two values", `{"schema":1,"action":"monitor"}{}`, "after top-level value"},
		{"too long", `{"schema":1,"action":"monitor"}` + strings.Repeat(" ", MaxSize), "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := DecodeRequest([]byte(c.line)); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %+v, %v; want an error with %q", r, err, c.words)
			}
		})
	}
}

func TestDecodeAnswer(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       Answer
		words      string // of the error
	}{
		{"running", `{"schema":1,"code":0}`, Answer{Schema: 1}, ""},
		{"not running", `{"schema":1,"code":7,"log":["a","b"]}`,
			Answer{Schema: 1, Code: ocf.NotRunning, Log: []string{"a", "b"}}, ""},
		{"failed", `{"schema":1,"code":1,"reason":"why"}`, Answer{Schema: 1, Code: ocf.Generic, Reason: "why"}, ""},
		{"declined", `{"schema":1,"declined":"busy","code":0}`, Answer{}, "declined: busy"},
		{"an empty object is no success", `{}`, Answer{}, "schema is 0"},
		{"no exit code", `{"schema":1,"code":256}`, Answer{}, "256 is not an exit code"},
		{"negative", `{"schema":1,"code":-1}`, Answer{}, "-1 is not an exit code"},
		{"cut off", `{"schema":1,"co`, Answer{}, "unexpected end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeAnswer([]byte(c.line))
			if c.words == "" && (err != nil || !reflect.DeepEqual(got, c.want)) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
			if c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)) {
				t.Errorf("error %v, want one with %q", err, c.words)
			}
		})
	}
}

// listener answers each connection with f, in a goroutine of its own.
func listener(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), Socket)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
	return path
}

const patience = 20 * time.Second // for what must not take any time

func TestAsk(t *testing.T) {
	long := strings.Repeat("x", 20000)
	path := listener(t, func(c net.Conn) {
		line, err := bufio.NewReader(c).ReadBytes('\n')
		if err != nil {
			return
		}
		r, err := DecodeRequest(line)
		if err != nil {
			return
		}
		answer, _ := Encode(Answer{Schema: Schema, Code: ocf.NotRunning, Log: append(r.Environ, long)})
		half := len(answer) / 2
		_, _ = c.Write(answer[:half])
		_, _ = c.Write(answer[half:])
	})
	got, err := Ask(path, NewRequest("monitor", []string{"OCF_A=" + long}), patience)
	if err != nil || got.Code != ocf.NotRunning || !reflect.DeepEqual(got.Log, []string{"OCF_A=" + long, long}) {
		t.Errorf("code %d, %d lines, %v", got.Code, len(got.Log), err)
	}
}

func TestAskWithoutAnAnswer(t *testing.T) {
	mute := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		socket string
		limit  time.Duration
	}{
		{"no socket", filepath.Join(dir, "none"), patience},
		{"a file", filepath.Join(dir, "file"), patience},
		{"a name too long", filepath.Join(dir, strings.Repeat("x", 200)), patience},
		{"closed at once", listener(t, func(net.Conn) {}), patience},
		{"closed when asked", listener(t, func(c net.Conn) { _, _ = bufio.NewReader(c).ReadString('\n') }), patience},
		{"cut off", listener(t, func(c net.Conn) {
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = c.Write([]byte(`{"schema":1,`))
		}), patience},
		{"endless", listener(t, func(c net.Conn) {
			for {
				if _, err := c.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}), patience},
		{"mute", listener(t, mute), 50 * time.Millisecond},
		{"no time", listener(t, mute), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			a, err := Ask(c.socket, NewRequest("monitor", nil), c.limit)
			if err == nil {
				t.Errorf("answer %+v", a)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("it took %v", took)
			}
			if c.limit < patience && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("error %v, want the deadline's", err)
			}
		})
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, seed := range []string{`{"schema":1,"action":"monitor","environ":["OCF_A=1","HA_b=2"]}`, `{"schema":1,"action":"stop"}`, `{}`, `[`, `{"schema":1e0,"action":"status","environ":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := DecodeRequest(line)
		if err != nil {
			return
		}
		if !Serves(r.Action) {
			t.Errorf("action %q was let through", r.Action)
		}
		for _, v := range r.Environ {
			if !strings.HasPrefix(v, "OCF_") && !strings.HasPrefix(v, "HA_") {
				t.Errorf("variable %q was let through", v)
			}
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, seed := range []string{`{"schema":1,"code":0}`, `{"schema":1,"code":7,"reason":"r","log":["l"]}`, `{"schema":1,"declined":"no"}`, `{}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := DecodeAnswer(line)
		if err == nil && (a.Schema != Schema || a.Declined != "" || a.Code < 0 || a.Code > 255) {
			t.Errorf("%q was taken for %+v", line, a)
		}
	})
}
