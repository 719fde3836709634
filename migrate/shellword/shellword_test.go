package shellword

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	for _, test := range []struct{ s, want string }{
		{"web1", "web1"},
		{"", "''"},
		{"Night Watch 1", "'Night Watch 1'"},
		{"web;1", "'web;1'"},
		{"guest=x,debug", "guest=x,debug"},
		{"=ls", "'=ls'"},
		{"qemu+tcp://n2/system", "qemu+tcp://n2/system"},
		{"qemu+ssh://root@[fe80::1]/system?no_tty=1", "'qemu+ssh://root@[fe80::1]/system?no_tty=1'"},
		{"it's", `'it'\''s'`},
		{"~root", "'~root'"},
		{"сервер木", "сервер木"},
		{"a\u00a0b", "'a\u00a0b'"},
		{"a\xffb", "'a\xffb'"},
		{"-web1", "-web1"},
		{"{a,b}", "'{a,b}'"},
	} {
		if got := Word(test.s); got != test.want {
			t.Errorf("%q: %s, want %s", test.s, got, test.want)
		}
	}
}

func TestOperands(t *testing.T) {
	for _, test := range []struct {
		words []string
		want  string
	}{
		{[]string{"web1", "n2"}, "web1 n2"},
		{[]string{"-web1", "n2"}, "-- -web1 n2"},
		{[]string{"web 1", "-n2"}, "-- 'web 1' -n2"},
		{nil, ""},
	} {
		if got := Operands(test.words...); got != test.want {
			t.Errorf("%q: %s, want %s", test.words, got, test.want)
		}
	}
}

// A real shell takes what Line wrote for the very words.
func TestAShellReadsTheVeryWords(t *testing.T) {
	words := []string{"a b", "", "'", "\"", "`id`", "$HOME", "\\", "*", "~", "a\nb", "--", ";", "&", "#", "!", "ü",
		"it's", "''", `'\''`, "a\tb", "[a]", "{a,b}", "<x", ">y", "|", "(", "%1", "a=b", "=b", "\x01", "-n"}
	script := filepath.Join(t.TempDir(), "say")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nprintf '%s\\0' "+Line(words...)+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(script).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, words) {
		t.Errorf("%q became %q", words, got)
	}
}

// FuzzWord reads back what Word wrote by the shell's rule for single quotes.
func FuzzWord(f *testing.F) {
	for _, s := range []string{"web1", "it's", "", "a b", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back strings.Builder
		rest := Word(s)
		for rest != "" {
			switch {
			case rest[0] == '\'':
				inside, after, closed := strings.Cut(rest[1:], "'")
				if !closed {
					t.Fatalf("%q: the quote does not end: %s", s, Word(s))
				}
				back.WriteString(inside)
				rest = after
			case strings.HasPrefix(rest, `\'`):
				back.WriteByte('\'')
				rest = rest[2:]
			case strings.ContainsRune(" \t\n|&;<>()$`\\\"*?[#~!{}", rune(rest[0])):
				t.Fatalf("%q: %q is not quoted", s, rest[0])
			default:
				back.WriteByte(rest[0])
				rest = rest[1:]
			}
		}
		if back.String() != s {
			t.Errorf("%q became %q", s, back.String())
		}
	})
}
