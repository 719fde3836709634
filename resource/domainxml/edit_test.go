package domainxml

import "testing"

func TestWithName(t *testing.T) {
	for in, want := range map[string]string{
		"<domain><name>a</name></domain>":                               "<domain><name>x&amp;y</name></domain>",
		"<!-- <name/> --><domain><a><name>b</name></a><name/></domain>": "<!-- <name/> --><domain><a><name>b</name></a><name>x&amp;y</name></domain>",
		"<domain></domain>":                                             "",
		"nonsense":                                                      "",
	} {
		if got, err := WithName(in, "x&y"); got != want || (err == nil) != (want != "") {
			t.Errorf("WithName(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}
