package announce

import (
	"encoding/xml"
	"fmt"
	"net/netip"
)

// Card is a network card of a guest, as libvirt describes it.
type Card struct {
	MAC    MAC          // of the domain XML; what the guest uses instead is not announced
	Dev    string       // the host's device behind it, such as "vnet3"; empty while there is none
	Lease  bool         // it is on a network of libvirt's, which may have given it an address
	Addrs  []netip.Addr // those that the domain XML has for it
	Filter Filter       // what may pass it
}

type interfacesXML struct {
	XMLName    xml.Name `xml:"domain"`
	Interfaces []struct {
		Type string `xml:"type,attr"`
		MAC  struct {
			Address string `xml:"address,attr"`
		} `xml:"mac"`
		Target struct {
			Dev string `xml:"dev,attr"`
		} `xml:"target"`
		Source struct {
			Network string `xml:"network,attr"`
		} `xml:"source"`
		Link struct {
			State string `xml:"state,attr"`
		} `xml:"link"`
		IPs []struct {
			Address string `xml:"address,attr"`
		} `xml:"ip"`
		Filter struct {
			Name       string `xml:"filter,attr"`
			Parameters []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"parameter"`
		} `xml:"filterref"`
	} `xml:"devices>interface"`
}

// ParseCards finds the cards in a domain XML, in its order. Only the XML of an active domain has
// their devices. A card whose link is set down is left out.
func ParseCards(domainXML string) ([]Card, error) {
	var x interfacesXML
	if err := xml.Unmarshal([]byte(domainXML), &x); err != nil {
		return nil, fmt.Errorf("read the network cards of a domain XML: %w", err)
	}
	var cards []Card
	for _, i := range x.Interfaces {
		mac, err := ParseMAC(i.MAC.Address)
		if err != nil || i.Link.State == "down" {
			continue
		}
		c := Card{MAC: mac, Dev: i.Target.Dev, Lease: i.Source.Network != "", Filter: Filter{Name: i.Filter.Name}}
		for _, p := range i.Filter.Parameters {
			c.Filter.add(p.Name, p.Value)
		}
		for _, ip := range i.IPs {
			if a, err := netip.ParseAddr(ip.Address); err == nil {
				c.Addrs = append(c.Addrs, a)
			}
		}
		cards = append(cards, c)
	}
	return cards, nil
}
