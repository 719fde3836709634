package main

import (
	"slices"
	"testing"
)

func TestFileMappings(t *testing.T) {
	const maps = `55ac83000000-55ac83170000 r--p 00000000 fd:00 42     /usr/sbin/vmferry-guard
55ac83170000-55ac8369e000 r-xp 00171000 fd:00 42     /usr/sbin/vmferry-guard
c000000000-c000400000 rw-p 00000000 00:00 0
c000400000-c004000000 ---p 00000000 00:00 0
7f2f38070000-7f2f38090000 ---p 00000000 fd:00 43     /usr/lib/x86_64-linux-gnu/libc.so.6
7ffd1c5f2000-7ffd1c613000 rw-p 00000000 00:00 0      [stack]
`
	want := []mapping{{0x55ac83000000, 0x55ac83170000}, {0x55ac83170000, 0x55ac8369e000}}
	if got := fileMappings(maps); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
