package version

import "runtime/debug"

// Both are set by the linker: -X github.com/vmferry/vmferry/migrate/version.linked=v0.3.0.
var linked, commit string

// String is the version that was linked in, or what the build knows of itself.
func String() string {
	info, _ := debug.ReadBuildInfo()
	return choose(linked, info)
}

// Commit is the revision that the program was built from, or its version where the build was not told.
func Commit() string {
	if commit != "" {
		return commit
	}
	return String()
}

func choose(linked string, info *debug.BuildInfo) string {
	if linked != "" {
		return linked
	}
	if info == nil {
		return "(unknown)"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "(devel)"
}
