package version

import (
	"runtime/debug"
	"testing"
)

func TestChoose(t *testing.T) {
	revision := []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "0123456789abcdef"}}
	for _, tt := range []struct {
		name, linked string
		info         *debug.BuildInfo
		want         string
	}{
		{"a release", "v0.3.0", &debug.BuildInfo{Main: debug.Module{Version: "v9"}}, "v0.3.0"},
		{"go install", "", &debug.BuildInfo{Main: debug.Module{Version: "v0.2.1"}, Settings: revision}, "v0.2.1"},
		{"go build", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: revision}, "0123456789ab"},
		{"go build outside of git", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "(devel)"},
		{"nothing", "", nil, "(unknown)"},
	} {
		if got := choose(tt.linked, tt.info); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if String() == "" {
		t.Error("no version at all")
	}
}
