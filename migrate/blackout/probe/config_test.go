package probe

import (
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

func TestDefaultsFollowTheTargets(t *testing.T) {
	quick, _, _ := Config{Targets: []string{"udp://h:1", "tcp://h:1"}}.Complete()
	service, _, _ := Config{Targets: []string{"udp://h:1", "icmp://h"}}.Complete()
	if quick.Interval != DefaultInterval || service.Interval != DefaultServiceInterval {
		t.Errorf("intervals of %s and %s", quick.Interval, service.Interval)
	}
	if quick.MaxError != leastMaxError || service.MaxError != 10*DefaultServiceInterval {
		t.Errorf("largest errors of %s and %s", quick.MaxError, service.MaxError)
	}
}

func TestValidate(t *testing.T) {
	one := []string{"udp://192.0.2.1:7007"}
	tests := map[string]struct {
		cfg  Config
		want string // part of the error, none when empty
	}{
		"defaults":          {Config{Targets: one}, ""},
		"no target":         {Config{}, "no target"},
		"twice":             {Config{Targets: append(one, one...)}, "given twice"},
		"too many":          {Config{Targets: make([]string, wire.MaxTargets+1)}, "4097 targets"},
		"short interval":    {Config{Targets: one, Interval: time.Microsecond}, "interval 1µs"},
		"long interval":     {Config{Targets: one, Interval: time.Hour}, "interval 1h"},
		"negative interval": {Config{Targets: one, Interval: -1}, "interval"},
		"short bucket":      {Config{Targets: one, Bucket: time.Microsecond}, "bucket 1µs"},
		"negative for":      {Config{Targets: one, For: -1}, "negative"},
		"negative retry":    {Config{Targets: one, RetryEvery: -1}, "TCP"},
		"family":            {Config{Targets: one, Family: 5}, "family 5"},
		"burst":             {Config{Targets: one, Burst: 1001}, "burst of 1001"},
		"negative burst":    {Config{Targets: one, Burst: -1}, "burst of -1"},
		"max error":         {Config{Targets: one, MaxError: -1}, "error is negative"},
		"negative progress": {Config{Targets: one, ProgressEvery: -1}, "between two reports"},
	}
	for name, tt := range tests {
		err := tt.cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
