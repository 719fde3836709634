package script

import (
	"errors"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/ocf"
)

func TestDecideStop(t *testing.T) {
	asked := observed{Verb: "stop", IsMonitored: true, IsAsked: true, Peers: []string{"n2", "n3"},
		Deadtime: 6 * time.Second}
	with := func(change func(*observed)) observed {
		k := asked
		change(&k)
		return k
	}
	refused := &preflight.Refusal{Check: preflight.CheckMemory}
	for _, tt := range []struct {
		name   string
		k      observed
		do     action
		target string
		limit  time.Duration
		after  time.Duration
	}{
		{"first", observed{Verb: "stop"}, doMonitor, "", 30 * time.Second, 0},
		{"it runs here", observed{Verb: "stop", IsMonitored: true}, doAskPeers, "", 0, 0},
		{"it does not", observed{Verb: "stop", IsMonitored: true, MonitorErr: &ocf.Error{Code: ocf.NotRunning}},
			doStop, "", 90 * time.Second, 0},
		{"a stop has failed", with(func(k *observed) { k.HasFailed = true }), doStop, "", 90 * time.Second, 0},
		{"a peer is up", asked, doMigrate, "n2", 2 * time.Minute, 0},
		{"nobody is up", with(func(k *observed) { k.PeersErr = errNobodyUp }), doStop, "", 90 * time.Second, 0},
		{"it takes no more", with(func(k *observed) { k.Tried, k.TryErr = []string{"n2"}, refused }), doMigrate, "n3",
			2 * time.Minute, 0},
		{"no time is left", with(func(k *observed) { k.Spent = 118 * time.Second }), doStop, "", 90 * time.Second, 0},
		{"Heartbeat leaves here", with(func(k *observed) { k.IsLeaving, k.LeavingFor = true, time.Second }),
			doAskPeers, "n2", 0, 5 * time.Second},
		{"it has left for long", with(func(k *observed) { k.IsLeaving, k.LeavingFor = true, 7*time.Second }),
			doMigrate, "n2", 2 * time.Minute, 0},
		{"moved", with(func(k *observed) { k.Tried = []string{"n2"} }), doFinish, "", 0, 0},
		{"all have refused", with(func(k *observed) { k.Tried, k.TryErr = []string{"n2", "n3"}, refused }),
			doAskPeers, "", 0, 0},
		{"and stay up", with(func(k *observed) {
			k.Tried, k.TryErr, k.IsWatching = []string{"n2", "n3"}, refused,
				true
		}), doAskPeers, "", 0, time.Second},
		{"for the deadtime", with(func(k *observed) {
			k.Tried, k.TryErr, k.IsWatching, k.TriedAt, k.Spent = []string{"n2", "n3"}, refused, true, time.Second,
				7*time.Second
		}), doStop, "", 90 * time.Second, 0},
		{"and die", with(func(k *observed) {
			k.Tried, k.TryErr, k.IsWatching, k.PeersErr = []string{"n2", "n3"}, refused, true, errNobodyUp
		}), doFinish, "", 0, 0},
		{"and Heartbeat leaves here", with(func(k *observed) {
			k.Tried, k.TryErr, k.IsWatching, k.IsLeaving = []string{"n2", "n3"}, refused, true, true
		}), doStop, "", 90 * time.Second, 0},
		{"interrupted", with(func(k *observed) { k.Interrupted = true }), doFinish, "", 0, 0},
		{"a time-out of its own", with(func(k *observed) {
			k.Timeout, k.Spent, k.PeersErr = 70*time.Second, 10*time.Second, errNobodyUp
		}), doStop, "", time.Minute, 0},
	} {
		s := decide(tt.k)
		if s.Do != tt.do || s.Target != tt.target || s.Limit != tt.limit || s.After != tt.after {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

func TestDecideStatus(t *testing.T) {
	unclear := errors.New("cannot tell")
	for _, tt := range []struct {
		name   string
		k      observed
		answer string
		code   ocf.ExitCode
	}{
		{"runs", observed{}, "running", ocf.Success},
		{"runs, and a stop was begun", observed{IsStopBegun: true}, "running", ocf.Success},
		{"stopped", observed{MonitorErr: &ocf.Error{Code: ocf.NotRunning}, IsStopBegun: true}, "stopped", lsbStopped},
		{"cannot tell", observed{MonitorErr: unclear}, "unknown", lsbUnknown},
		{"cannot tell after a stop was begun", observed{MonitorErr: unclear, IsStopBegun: true},
			"running (a stop was begun and its success is not proven)", lsbUnknown},
	} {
		tt.k.Verb, tt.k.IsMonitored = "status", true
		if s := decide(tt.k); s.Do != doFinish || s.Answer != tt.answer || s.Code != tt.code {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}
