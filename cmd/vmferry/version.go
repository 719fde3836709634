package main

import "runtime/debug"

// version is set by the linker in a release.
var version string

// toolVersion is that, or what the build knows of itself.
func toolVersion() string {
	info, ok := debug.ReadBuildInfo()
	switch {
	case version != "":
		return version
	case ok && info.Main.Version != "":
		return info.Main.Version
	}
	return "(unknown)"
}
