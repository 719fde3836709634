package resource

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// bringUp starts the guest, which is proven not to run: from its saved state, or from its file.
func (a *run) bringUp(ctx context.Context, conn Hypervisor, o observation) error {
	text, err := a.startXML(ctx, conn, o.status.UUID)
	if err != nil {
		return err
	}
	if a.Params.StartResources {
		if err := startResources(ctx, conn, namesIn(text)); err != nil {
			return err
		}
	}
	if err := a.checkMemory(ctx, conn, text); err != nil {
		return err
	}
	state, err := a.saver.claim(ctx, text)
	if err != nil {
		return err
	}
	if state != nil {
		return a.saver.restore(ctx, conn, state)
	}
	if err := a.makeOverlay(ctx, namesIn(text).disks); err != nil {
		return err
	}
	return conn.Create(ctx, text)
}

// startXML is what libvirt starts the guest from; uuid is that of a definition it has.
func (a *run) startXML(ctx context.Context, conn Hypervisor, uuid string) (string, error) {
	d := a.config.domain
	if !d.native {
		if d.UUID == "" && uuid == "" { // what is kept under a UUID that ends with the guest is of no use to anybody
			a.warnOfNewTPM()
			return d.text, nil
		}
		return keepTPM(d.withUUID(uuid)), nil
	}
	text, err := conn.DomainXML(ctx, libvirt.NativeXL, d.text)
	if err != nil {
		return "", err
	}
	return withName(text, a.guest.Name)
}

// withName replaces the name in a domain XML.
func withName(text, name string) (string, error) {
	dec := xml.NewDecoder(strings.NewReader(text))
	for depth := 0; ; {
		before := dec.InputOffset()
		token, err := dec.Token()
		if err != nil {
			return "", fmt.Errorf("find the guest's name in what libvirt made of its xl configuration: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			depth++
			if depth != 2 || t.Name.Local != "name" {
				continue
			}
			if err := dec.Skip(); err != nil {
				return "", fmt.Errorf("read the guest's name in what libvirt made of its xl configuration: %w", err)
			}
			var escaped strings.Builder
			_ = xml.EscapeText(&escaped, []byte(name)) // a Builder takes all
			return text[:before] + "<name>" + escaped.String() + "</name>" + text[dec.InputOffset():], nil
		case xml.EndElement:
			depth--
		}
	}
}

// names are what a domain XML uses of its host.
type names struct {
	networks, pools []string // libvirt's
	disks           []string // files and devices
}

// namesIn finds them, each once, in the <source> elements. Text that is no XML has none: libvirt
// will say so.
func namesIn(text string) names {
	var n names
	dec := xml.NewDecoder(strings.NewReader(text))
	for inDisk := false; ; {
		token, err := dec.Token()
		if err != nil {
			return n
		}
		switch t := token.(type) {
		case xml.EndElement:
			inDisk = inDisk && t.Name.Local != "disk"
		case xml.StartElement:
			inDisk = inDisk || t.Name.Local == "disk"
			if t.Name.Local == "source" {
				n.add(t.Attr, inDisk)
			}
		}
	}
}

func (n *names) add(attrs []xml.Attr, inDisk bool) {
	for _, attr := range attrs {
		list := map[string]*[]string{"network": &n.networks, "pool": &n.pools}[attr.Name.Local]
		if inDisk && (attr.Name.Local == "file" || attr.Name.Local == "dev") {
			list = &n.disks
		}
		if list != nil && attr.Value != "" && !slices.Contains(*list, attr.Value) {
			*list = append(*list, attr.Value)
		}
	}
}

// startResources starts what the guest needs of libvirt. conn may be another node's.
func startResources(ctx context.Context, conn Hypervisor, n names) error {
	for _, pool := range n.pools {
		if err := conn.StartPool(ctx, pool); err != nil {
			return fmt.Errorf("its storage pool %q does not start: %w", pool, err)
		}
	}
	for _, network := range n.networks {
		if err := conn.StartNetwork(ctx, network); err != nil {
			return fmt.Errorf("its network %q does not start: %w", network, err)
		}
	}
	return nil
}
