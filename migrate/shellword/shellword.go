package shellword

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Word returns s as one word of a POSIX shell's command line (XCU 2.2, quoting): as it is where no shell gives any of
// its characters a meaning, else in single quotes. An empty s becomes two quotes. A word with a leading dash stays an
// option to the program: see [Operands].
func Word(s string) string {
	if s != "" && utf8.ValidString(s) && !strings.HasPrefix(s, "=") && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// special reports whether r, unquoted, may mean something to a shell. Blanks and marks beyond ASCII mean nothing, and
// are quoted because a reader does not see where such a word ends.
func special(r rune) bool {
	if unicode.IsLetter(r) || unicode.IsDigit(r) {
		return false
	}
	return r >= utf8.RuneSelf || !strings.ContainsRune("_-./:=@%+,", r)
}

// Line returns the words of a command line, each as [Word] has it.
func Line(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Word(w)
	}
	return strings.Join(quoted, " ")
}

// Operands returns the words that follow a command's options, as [Line] has them, with "--" before them where one
// begins with a dash (XBD 12.2, guideline 10): without that the program takes it for an option.
func Operands(words ...string) string {
	line := Line(words...)
	for _, w := range words {
		if strings.HasPrefix(w, "-") {
			return "-- " + line
		}
	}
	return line
}
