package plaintext

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxLine is the longest line that [Line] returns, in bytes. What was longer ends with "…".
const MaxLine = 4 << 10

// Line puts the lines of a text on one line of at most [MaxLine] bytes, made safe as [Escape] does. Blanks within a
// line stay: a name may have two of them, and is pasted.
func Line(text string) string {
	const end = "…"
	var line strings.Builder
	for word := range strings.FieldsFuncSeq(text,
		func(r rune) bool { return strings.ContainsRune("\n\r\t\v\f\u0085", r) }) {
		if word = Escape(strings.TrimSpace(word)); word == "" {
			continue
		}
		if line.Len() > 0 {
			word = " " + word
		}
		if room := MaxLine - len(end) - line.Len(); room < len(word) {
			for room > 0 && !utf8.RuneStart(word[room]) {
				room--
			}
			line.WriteString(word[:room] + end)
			break
		}
		line.WriteString(word)
	}
	return line.String()
}

// Escape replaces control characters other than newline and tab, format characters such as bidirectional controls
// (Unicode's categories Cc and Cf), line and paragraph separators, and bytes that are no UTF-8. They are written as in
// JSON ("\u001b"), so that a JSON document stays one with the same meaning.
func Escape(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unsafe) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteRune(utf8.RuneError)
		case !unsafe(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func unsafe(r rune) bool {
	return r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Writer escapes what is written to another one. It expects whole characters in each write, as package fmt makes them.
type Writer struct{ To io.Writer }

// Write implements io.Writer. The number is that of the bytes that were given.
func (w Writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.To, Escape(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Under is the writer that w writes to, or w itself where it is no [Writer].
func Under(w io.Writer) io.Writer {
	if safe, ok := w.(Writer); ok {
		return safe.To
	}
	return w
}
