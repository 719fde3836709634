package cib

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// Place is where a resource is, and how it is there.
type Place struct {
	Nodes   []string // on which it is active; two while Pacemaker is unsure
	Pending string   // what Pacemaker is doing with it, such as "Migrating"; empty for nothing
	Failed  bool
	Blocked bool
	Managed bool
}

// Status is one look at the cluster.
type Status struct {
	Online  map[string]bool // the nodes, and whether guests can be put on each
	Standby map[string]bool
	Places  map[string]Place // by the resource's id
}

// ParseStatus reads crm_mon's XML. It is an error when the document is cut
// short, is not crm_mon's, or reports a failure.
func ParseStatus(r io.Reader) (Status, error) {
	s := Status{Online: map[string]bool{}, Standby: map[string]bool{}, Places: map[string]Place{}}
	var doc mon
	err := xml.NewDecoder(r).Decode(&doc)
	if err == nil {
		err = s.read(doc)
	}
	if err != nil {
		return Status{}, fmt.Errorf("read crm_mon's status: %w", err)
	}
	return s, nil
}

// mon is the form of the document: resources stand alone or in groups, clones
// and bundles, whose replicas hold them.
type mon struct {
	XMLName xml.Name `xml:"pacemaker-result"`
	Nodes   []struct {
		Name    string `xml:"name,attr"`
		Online  bool   `xml:"online,attr"`
		Unclean bool   `xml:"unclean,attr"`
		Pending bool   `xml:"pending,attr"`
		Standby bool   `xml:"standby,attr"`
	} `xml:"nodes>node"`
	Resources monHolder `xml:"resources"`
	Status    *struct {
		Code string `xml:"code,attr"`
	} `xml:"status"`
}

type monHolder struct {
	Resources []monResource `xml:"resource"`
	Groups    []monHolder   `xml:"group"`
	Clones    []monHolder   `xml:"clone"`
	Bundles   []monHolder   `xml:"bundle"`
	Replicas  []monHolder   `xml:"replica"`
}

type monResource struct {
	ID      string `xml:"id,attr"`
	Pending string `xml:"pending,attr"`
	Failed  bool   `xml:"failed,attr"`
	Blocked bool   `xml:"blocked,attr"`
	Managed string `xml:"managed,attr"`
	Nodes   []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
}

func (s *Status) read(doc mon) error {
	switch {
	case doc.Status == nil:
		return errors.New("it has no result: it was cut short")
	case doc.Status.Code != "0":
		return fmt.Errorf("crm_mon failed with code %s", doc.Status.Code)
	}
	for _, n := range doc.Nodes {
		s.Online[n.Name] = n.Online && !n.Unclean && !n.Pending
		s.Standby[n.Name] = n.Standby
	}
	s.take(doc.Resources)
	return nil
}

func (s *Status) take(h monHolder) {
	for _, r := range h.Resources {
		s.Places[r.ID] = r.place()
	}
	for _, list := range [][]monHolder{h.Groups, h.Clones, h.Bundles, h.Replicas} {
		for _, inner := range list {
			s.take(inner)
		}
	}
}

func (r monResource) place() Place {
	p := Place{Pending: r.Pending, Failed: r.Failed, Blocked: r.Blocked, Managed: Bool(r.Managed, true)}
	for _, n := range r.Nodes {
		p.Nodes = append(p.Nodes, n.Name)
	}
	return p
}
