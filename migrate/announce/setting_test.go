package announce

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func addrs(all ...string) []netip.Addr {
	var list []netip.Addr
	for _, s := range all {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

func TestParseSetting(t *testing.T) {
	other := MAC{0x52, 0x54, 0, 0, 0, 2}
	for text, want := range map[string]Setting{
		"":                       {},
		" auto ":                 {},
		"off":                    {Off: true},
		"agent":                  {Agent: true},
		"192.0.2.7":              {First: addrs("192.0.2.7")},
		"192.0.2.7, 2001:db8::7": {First: addrs("192.0.2.7", "2001:db8::7")},
		"52:54:00:12:34:56=192.0.2.7,52-54-00-00-00-02=192.0.2.8,52:54:00:00:00:02=2001:db8::8": {
			Cards: map[MAC][]netip.Addr{guest: addrs("192.0.2.7"), other: addrs("192.0.2.8", "2001:db8::8")}},
	} {
		got, err := ParseSetting(text)
		if err != nil || got.Off != want.Off || got.Agent != want.Agent || !slices.Equal(got.First, want.First) ||
			!maps.EqualFunc(got.Cards, want.Cards, slices.Equal) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		",":                           "names no address",
		"on":                          "not an IP address",
		"192.0.2.7/24":                "not an IP address",
		"auto,192.0.2.7":              "not an IP address",
		"agent,192.0.2.7":             "not an IP address",
		"0.0.0.7":                     "leave it out",
		"240.0.0.1":                   "leave it out",
		"224.0.0.1":                   "leave it out",
		"255.255.255.255":             "leave it out",
		"0.0.0.0":                     "leave it out",
		"::1":                         "leave it out",
		"::ffff:192.0.2.7":            "leave it out",
		"fe80::1":                     "link-local",
		"2001:db8::7%eth0":            "leave it out",
		"ff:ff:ff:ff:ff:ff=192.0.2.7": "not a MAC address",
		"00:00:00:00:00:00=192.0.2.7": "not a MAC address",
		"vnet0=192.0.2.7":             "52:54:00:12:34:56=192.0.2.7",
		"52:54:00:12:34:56=":          "not an IP address",
	} {
		if s, err := ParseSetting(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v, want %q", text, s, err, says)
		}
	}
}

func TestSettingOfACard(t *testing.T) {
	s, err := ParseSetting("192.0.2.7,192.0.2.8,52:54:00:12:34:56=192.0.2.9")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.of(0, guest); !slices.Equal(got, addrs("192.0.2.7", "192.0.2.8", "192.0.2.9")) {
		t.Errorf("the first card: %v", got)
	}
	if got := s.of(0, MAC{2}); !slices.Equal(got, addrs("192.0.2.7", "192.0.2.8")) {
		t.Errorf("the first card, with another MAC: %v", got)
	}
	if got := s.of(1, guest); !slices.Equal(got, addrs("192.0.2.9")) {
		t.Errorf("another card: %v", got)
	}
	if (Setting{}).fixed() || (Setting{Off: true}).fixed() || !s.fixed() {
		t.Error("fixed is wrong")
	}
}

func FuzzParseSetting(f *testing.F) {
	for _, s := range []string{"auto", "off", "192.0.2.7,2001:db8::7", "52:54:00:12:34:56=192.0.2.7", "=,="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSetting(text)
		if err != nil {
			return
		}
		for _, a := range s.Addrs() {
			if !announced(a) {
				t.Errorf("%q would announce %s", text, a)
			}
		}
	})
}

func TestParseCards(t *testing.T) {
	cards, err := ParseCards(`<domain type='kvm'><name>vm1</name><devices>
		<interface type='bridge'><mac address='52:54:00:12:34:56' currentAddress='52:54:00:00:00:99'/>
			<source bridge='br0'/><target dev='vnet0'/></interface>
		<interface type='network'><mac address='52:54:00:12:34:57'/><source network='default' bridge='virbr0'/><target dev='vnet1'/>
			<ip address='192.0.2.9' prefix='24'/><ip address='nonsense'/></interface>
		<interface type='bridge'><mac address='52:54:00:12:34:58'/><target dev='vnet2'/><link state='down'/></interface>
		<interface type='hostdev'><mac address='52:54:00:12:34:59'/></interface>
		<interface type='user'/>
		<interface type='bridge'><mac address='52:54:00:12:34:5a'/><target dev='vnet3'/><filterref filter='clean-traffic'>
			<parameter name='CTRL_IP_LEARNING' value='dhcp'/><parameter name='IP' value='192.0.2.7'/>
			<parameter name='IP' value='192.0.2.8'/>
			<parameter name='IPV6' value='2001:db8::7'/><parameter name='DHCPSERVER' value='192.0.2.1'/></filterref></interface>
		<interface type='bridge'><mac address='52:54:00:12:34:5b'/><target dev='vnet4'/>
			<filterref filter='no-ip-spoofing'/></interface>
	</devices></domain>`)
	want := []Card{
		{MAC: guest, Dev: "vnet0"},
		{MAC: MAC{0x52, 0x54, 0, 0x12, 0x34, 0x57}, Dev: "vnet1", Lease: true, Addrs: addrs("192.0.2.9")},
		{MAC: MAC{0x52, 0x54, 0, 0x12, 0x34, 0x59}},
		{MAC: MAC{0x52, 0x54, 0, 0x12, 0x34, 0x5a}, Dev: "vnet3", Filter: Filter{
			Name: "clean-traffic", Addrs: addrs("192.0.2.7", "192.0.2.8", "2001:db8::7"), four: true, six: true}},
		{MAC: MAC{0x52, 0x54, 0, 0x12, 0x34, 0x5b}, Dev: "vnet4", Filter: Filter{Name: "no-ip-spoofing"}},
	}
	if err != nil || !reflect.DeepEqual(cards, want) {
		t.Errorf("got %+v, %v", cards, err)
	}
	if _, err := ParseCards("no XML"); err == nil {
		t.Error("text that is no XML was read")
	}
}
