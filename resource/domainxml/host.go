package domainxml

import (
	"encoding/xml"
	"slices"
	"strings"
)

// HostResources are what a domain XML uses of its host.
type HostResources struct {
	Networks, Pools []string // libvirt's
	Disks           []string // files and devices
}

// HostResourcesOf finds them, each once, in the <source> elements. Text that is no XML has none: libvirt will say so.
func HostResourcesOf(text string) HostResources {
	var n HostResources
	for e := range elements(text) {
		if e.Name.Local == "source" {
			n.add(e.Attr, strings.Contains("/"+e.path, "/disk/"))
		}
	}
	return n
}

func (n *HostResources) add(attrs []xml.Attr, inDisk bool) {
	for _, attr := range attrs {
		list := map[string]*[]string{"network": &n.Networks, "pool": &n.Pools}[attr.Name.Local]
		if inDisk && (attr.Name.Local == "file" || attr.Name.Local == "dev") {
			list = &n.Disks
		}
		if list != nil && attr.Value != "" && !slices.Contains(*list, attr.Value) {
			*list = append(*list, attr.Value)
		}
	}
}
