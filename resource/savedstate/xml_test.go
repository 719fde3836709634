package savedstate

import "testing"

// A network card without a MAC address gets another one in each description, which libvirt takes for another card.
func TestWithMACs(t *testing.T) {
	domain := func(cards string) string {
		return "<domain type='kvm'><name>vm1</name><devices>" + cards + "</devices></domain>"
	}
	const none, a, b = "<interface type='bridge'></interface>",
		"<interface type='bridge'><mac address='52:54:00:00:00:0a'/></interface>",
		"<interface type='bridge'><mac address='52:54:00:00:00:0b'/></interface>"
	for _, c := range []struct{ own, saved, want string }{
		{none, a, a},
		{a, b, a},
		{none + b + none, a + b + b, a + b + b},
		{none, a + b, none},
		{"<interface type='user'/>", a, "<interface type='user'/>"},
		{"", "", ""},
	} {
		if got := asSaved(domain(c.own), domain(c.saved)); got != domain(c.want) {
			t.Errorf("%q of %q: %q", c.own, c.saved, got)
		}
	}
}

func TestWithMachine(t *testing.T) {
	domain := func(machine string) string {
		return "<domain type='kvm'><name>vm1</name><os><type arch='x86_64'" + machine +
			">hvm</type><boot dev='hd'/></os></domain>"
	}
	for _, c := range []struct{ own, saved, want string }{
		{" machine='q35'", " machine='pc-q35-9.2'", " machine='pc-q35-9.2'"},
		{` machine = "pc"`, " machine='pc-i440fx-noble'", " machine='pc-i440fx-noble'"},
		{" machine='virt'", " machine='virt-10.0'", " machine='virt-10.0'"},
		{" machine='q35'", " machine='pc-i440fx-9.2'", " machine='q35'"},
		{" machine='pc-q35-10.0'", " machine='pc-q35-9.2'", " machine='pc-q35-10.0'"},
		{" machine='q35'", " machine='pc-q35-&apos;/&gt;'", " machine='q35'"},
		{"", " machine='pc-q35-9.2'", ""},
	} {
		if got := asSaved(domain(c.own), domain(c.saved)); got != domain(c.want) {
			t.Errorf("%q of %q: %q", c.own, c.saved, got)
		}
	}
}
