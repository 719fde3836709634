package admission

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/resource/agentd/wire"
)

func TestDecodeRequestRefuses(t *testing.T) {
	for _, c := range []struct{ name, line, words string }{
		{"nothing", "", "unexpected end"},
		{"no schema", `{"action":"enter","guest":"a"}`, "schema is 0"},
		{"later schema", `{"schema":2,"action":"enter","guest":"a"}`, "restart vmferryd"},
		{"a monitor", `{"schema":1,"action":"monitor","guest":"a"}`, `action "monitor"`},
		{"no guest", `{"schema":1,"action":"enter"}`, "no guest"},
		{"a negative rate", `{"schema":1,"action":"enter","guest":"a","rate":-1}`, "negative"},
		{"a negative size", `{"schema":1,"action":"enter","guest":"a","memory":-1}`, "memory"},
		{"two values", `{"schema":1,"action":"enter","guest":"a"}{}`, "after top-level value"},
		{"too long", strings.Repeat(" ", wire.MaxSize+1), "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := decodeRequest([]byte(c.line)); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %+v, %v; want an error with %q", r, err, c.words)
			}
		})
	}
}

func TestDecodeWord(t *testing.T) {
	for _, c := range []struct{ name, line, words string }{
		{"waiting", `{"schema":1,"word":"waiting"}`, ""},
		{"granted", `{"schema":1,"word":"granted","at_once":2}`, ""},
		{"granted to nobody", `{"schema":1,"word":"granted"}`, "0 at once"},
		{"an older daemon", `{"schema":1,"declined":"read request: action \"enter\" is not the daemon's","code":0}`, "declined"},
		{"an answer", `{"schema":1,"code":0}`, `unknown word ""`},
		{"the agent's word", `{"schema":1,"word":"copied"}`, "unknown word"},
		{"no schema", `{"word":"waiting"}`, "schema is 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := decodeMessage([]byte(c.line))
			if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("error %v, want %q", err, c.words)
			}
		})
	}
}

// FuzzDesk says anything to the daemon: it must end the conversation, and keep nobody inside.
func FuzzDesk(f *testing.F) {
	for _, seed := range []string{
		`{"schema":1,"action":"enter","guest":"a","memory":1000000000,"rate":1e9,"budget":300000000}` + "\n" +
			`{"schema":1,"word":"load","memory":5,"dirty_rate":1e9}` + "\n" + `{"schema":1,"word":"copied"}` + "\n",
		`{"schema":1,"action":"enter","guest":"a","ladder":["postcopy","destroy"],"dirty_rate":1e300,"rate":1e-300}` +
			"\nthanks\n",
		`{"schema":1,"action":"enter","guest":"a","set_up":9223372036854775807,"hand_over":9223372036854775807,"shutdown":9223372036854775807,"deadline":"9999-12-31T00:00:00Z"}` + "\n",
		`{"schema":1,"action":"enter","guest":"a","priority":-9,"memory":18446744073709551615,"device":18446744073709551615,"working_set":1,"limit":1}` + "\n",
		"{}\n", "\n", "[",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		synctest.Test(t, func(t *testing.T) {
			log, said := test.NewNullLogger()
			d := &Server{Log: log}
			d.SetDeadline(time.Now().Add(time.Hour))
			agent, daemon := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, agent) }()
			go func() {
				_, _ = io.WriteString(agent, text)
				_ = agent.Close()
			}()
			in := bufio.NewReader(daemon)
			if first, err := in.ReadBytes('\n'); err == nil {
				d.Serve(t.Context(), daemon, in, first)
			}
			_ = daemon.Close()
			if e := said.LastEntry(); e != nil && e.Level <= logrus.ErrorLevel {
				t.Errorf("it said %q", e.Message) // as of a panic
			}
			if d.inside != 0 || d.queue != nil {
				t.Errorf("%d are left inside", d.inside)
			}
		})
	})
}

// FuzzAgent has a daemon say anything: the agent must neither hang nor take nonsense for a grant.
func FuzzAgent(f *testing.F) {
	for _, seed := range []string{
		`{"schema":1,"word":"waiting"}` + "\n" +
			`{"schema":1,"word":"granted","at_once":2,"deadline":"2026-01-01T00:00:00Z"}` + "\n" +
			`{"schema":1,"word":"give-up","why":"w"}` + "\n",
		`{"schema":1,"word":"too-late","means":"shutdown","left":60000000000,"why":"w"}` + "\n",
		`{"schema":1,"declined":"no"}` + "\n", `{"schema":1,"word":"granted"}` + "\n", "x", "{}\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		synctest.Test(t, func(t *testing.T) {
			agent, daemon := net.Pipe()
			go func() {
				in := bufio.NewReader(daemon)
				_, _ = in.ReadBytes('\n')
				_, _ = io.WriteString(daemon, text)
				_ = daemon.Close()
			}()
			turn, err := enter(t.Context(), agent, idle("a", 1, 0), nil, nil)
			if (err == nil) != (turn != nil) {
				t.Errorf("%v with error %v", turn, err)
			}
			if err == nil && (turn.AtOnce() < 1 || !strings.Contains(text, "granted")) {
				t.Errorf("%q was taken for a grant of %d", text, turn.AtOnce())
			}
			_ = agent.Close()
		})
	})
}
