package ocf

import (
	"slices"
	"testing"
	"time"
)

func TestTimeout(t *testing.T) {
	for _, c := range []struct {
		environ []string
		want    time.Duration
	}{
		{nil, time.Minute},
		{[]string{"OCF_RESKEY_CRM_meta_timeout=20000"}, 20 * time.Second},
		{[]string{"OCF_RESKEY_CRM_meta_timeout="}, time.Minute},
		{[]string{"OCF_RESKEY_CRM_meta_timeout=20s"}, time.Minute},
		{[]string{"OCF_RESKEY_CRM_meta_timeout=-1"}, time.Minute},
		{[]string{"OCF_RESKEY_CRM_meta_timeout=9223372036854775807"}, MaxTimeout},
	} {
		if got := Timeout(c.environ, time.Minute); got != c.want {
			t.Errorf("%v: %v, want %v", c.environ, got, c.want)
		}
	}
}

func TestParseTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "x": 0, "-5": 0, "0": 0, "20000": 20 * time.Second,
		"9223372036854775807": MaxTimeout} {
		if got := ParseTimeout(in); got != want {
			t.Errorf("ParseTimeout(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestSetTimeout(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		timeout time.Duration
		want    []string
	}{
		{"replaced", []string{"A=1", "OCF_RESKEY_CRM_meta_timeout=20000", "B=2"}, 13700 * time.Millisecond,
			[]string{"A=1", "B=2", "OCF_RESKEY_CRM_meta_timeout=13700"}},
		{"added", []string{"A=1"}, time.Second, []string{"A=1", "OCF_RESKEY_CRM_meta_timeout=1000"}},
		{"nothing left", nil, -time.Second, []string{"OCF_RESKEY_CRM_meta_timeout=1"}},
	} {
		before := slices.Clone(c.environ)
		if got := SetTimeout(c.environ, c.timeout); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if !slices.Equal(c.environ, before) {
			t.Errorf("%s: the caller's list was changed", c.name)
		}
	}
}
