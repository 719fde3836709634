package ocflog

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestLogForms(t *testing.T) {
	fields := logrus.Fields{"guest": "vm1", "phase": "stop", logrus.ErrorKey: errors.New("no\nanswer")}
	for _, c := range []struct {
		name    string
		environ []string
		want    []string
		lack    string
	}{
		{"a person", nil, []string{"vmferry-agent: warning: it failed: no answer guest=vm1 phase=stop\n"}, "Domain("},
		{"a manager", []string{"HA_LOGFACILITY=daemon"},
			[]string{"Domain(res1)[42]:\t", " WARNING: it failed: no answer guest=vm1 phase=stop\n"}, "vmferry-agent:"},
		{"hostile text", []string{"HA_debug=1"}, []string{`warning: \u001b]0;x\u0007 b guest=v\u202em`}, "\x1b"},
		{"debugging", []string{"HA_debug=1"}, []string{"debug: detail"}, "Domain("},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			log := New(Call{c.environ, "res1", 42}, &out)
			log.ReplaceHooks(logrus.LevelHooks{}) // no lines of a test in the machine's journal
			log.WithFields(fields).Warn("it failed")
			log.WithField("guest", "v\u202em").Warn("\x1b]0;x\a\nb")
			log.Debug("detail")
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("log %q lacks %q", out.String(), want)
				}
			}
			if strings.Contains(out.String(), c.lack) {
				t.Errorf("log %q has %q", out.String(), c.lack)
			}
		})
	}
}

func TestJournalFields(t *testing.T) {
	e := logrus.NewEntry(logrus.New()).WithFields(logrus.Fields{"guest": "vm1", "peer": "node\x1b2"})
	got := journalFields(e, "res1")
	for key, want := range map[string]string{"SYSLOG_IDENTIFIER": "vmferry-agent", "VMFERRY_RESOURCE": "res1",
		"VMFERRY_GUEST": "vm1", "VMFERRY_PEER": `node\u001b2`} {
		if got[key] != want {
			t.Errorf("%s=%q, want %q", key, got[key], want)
		}
	}
}
