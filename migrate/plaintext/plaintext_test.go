package plaintext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"vm 1\tü\n":               "vm 1\tü\n",
		"\x1b[31mred\x1b]0;t\a":   `\u001b[31mred\u001b]0;t\u0007`,
		"\u009b2J":                `\u009b2J`,
		"a\u202egnp.\u202c\u2066": `a\u202egnp.\u202c\u2066`,
		"\r\b\x7f\x00":            `\u000d\u0008\u007f\u0000`,
		"x\xffy\xc3":              "x\ufffdy\ufffd",
		"\u2028\u2029\ufeff":      `\u2028\u2029\ufeff`,
		"\U000e0041":              `\udb40\udc41`,
		"\ufffd":                  "\ufffd",
	} {
		if got := Escape(text); got != want {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	if got, want := Line(" a\nb\r\n\tc\x1b[0m\v\u0085d "), `a b c\u001b[0m d`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := Line("virsh undefine 'a  b'\n \n"), "virsh undefine 'a  b'"; got != want {
		t.Errorf("%q, want %q: it is pasted", got, want)
	}
	for _, text := range []string{strings.Repeat("ü", MaxLine), strings.Repeat("a b ", MaxLine),
		strings.Repeat("\x1b", MaxLine)} {
		got := Line(text)
		if len(got) > MaxLine || len(got) < MaxLine-16 || !strings.HasSuffix(got, "…") || !utf8.ValidString(got) {
			t.Errorf("%d bytes became %d: …%q", len(text), len(got), got[len(got)-20:])
		}
	}
}

func TestWriter(t *testing.T) {
	var b strings.Builder
	w := Writer{&b}
	if n, err := w.Write([]byte("\x1bx\n")); n != 3 || err != nil || b.String() != "\\u001bx\n" {
		t.Errorf("%d, %v: %q", n, err, b.String())
	}
	if Under(w) != &b || Under(&b) != &b {
		t.Error("what is under a writer is lost")
	}
}

// FuzzEscape: no control character is left, twice is once, and JSON keeps its meaning.
func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"vm1", "\x1b[2J", "\u202e\xff", "a\nb\tc"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, got := range []string{Escape(text), Line(text)} {
			if strings.ContainsFunc(got, unsafe) || !utf8.ValidString(got) || Escape(got) != got {
				t.Errorf("%q became %q", text, got)
			}
		}
		if strings.ContainsAny(Line(text), "\n\t") || len(Line(text)) > MaxLine {
			t.Errorf("%q is no line: %q", text, Line(text))
		}
		doc, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var was, is string
		if err := json.Unmarshal(doc, &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(Escape(string(doc))), &is); err != nil || is != was {
			t.Errorf("%q became %q (%v)", was, is, err)
		}
	})
}
