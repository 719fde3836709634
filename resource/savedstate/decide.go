package savedstate

import (
	"errors"
	"maps"
	"time"

	"libvirt.org/go/libvirtxml"
)

// staleAfter is how much later than the saved state a disk may have been written to: clocks of
// file servers differ, and the file system counts in ticks.
const staleAfter = 10 * time.Second

// Observed is all that [Decide] looks at.
type Observed struct {
	Unusable   string    // why the file can never be restored, or is another guest's; "" for neither
	Written    time.Time // when the file was last written to
	Disks      []Disk    // of the guest, as the file or its config file has them
	Saved, Own string    // the guest's XML: the file's, and that of its config file
	Exposed    error     // why others could have exchanged the file, see [Place.Exposed]
	RootOnly   bool      // root alone can have written the file
	CanReplace bool      // libvirt can replace the file's XML by ours
}

// Disk is an image file.
type Disk struct {
	Path    string
	Written time.Time
}

// Course is what a start does about a saved state.
type Course int

// The courses.
const (
	Refuse  Course = iota // start nothing, and leave the file: it may be the guest's
	Boot                  // set the file aside, and boot the guest: its memory on other disks would destroy them
	Restore               // restore the guest from the file
)

// Decision is what [Decide] wants.
type Decision struct {
	Course Course
	Why    string // of Boot
	Err    error  // of Refuse
	XML    string // of Restore: the guest's XML to restore it with, "" for the one in the file
	AsIs   bool   // of Restore: the one in the file may be used, where libvirt finds that the other hardware differs
	// OtherDisks says that the guest had other disks when it was saved than its config file names, and gets those.
	OtherDisks bool
}

// Decide is the rule for a saved state.
//
// A guest is restored with our own XML, unless its memory belongs to other disks, or libvirt can use the one in the
// file only. That one is believed only where root alone can have written it, as it names programs that libvirt runs as
// root.
func Decide(o Observed) Decision {
	if o.Unusable != "" {
		return Decision{Course: Boot, Why: o.Unusable}
	}
	for _, d := range o.Disks {
		if d.Written.Sub(o.Written) > staleAfter {
			return Decision{Course: Boot, Why: "disk " + d.Path + " was written to after it"}
		}
	}
	same := maps.Equal(writableDisks(o.Saved), writableDisks(o.Own))
	switch {
	case o.Exposed != nil:
		return Decision{Err: o.Exposed}
	case same && o.CanReplace:
		return Decision{Course: Restore, XML: o.Own, AsIs: o.RootOnly}
	case o.RootOnly:
		return Decision{Course: Restore, AsIs: true, OtherDisks: !same && o.CanReplace}
	case !same:
		return Decision{Err: errOtherDisks}
	}
	return Decision{Err: errFilesXML}
}

var (
	errOtherDisks = errors.New("the guest had other disks when it was saved than its config file names")
	errFilesXML   = errors.New("libvirt restores it only as the file describes the guest, and the file, " +
		"or its directory, does not belong to root")
)

// writableDisks are what a guest writes to, by the names of its disks.
func writableDisks(text string) map[string]string {
	guest := &libvirtxml.Domain{}
	if guest.Unmarshal(text) != nil || guest.Devices == nil {
		return nil
	}
	all := map[string]string{}
	for _, d := range guest.Devices.Disks {
		if d.Device != "" && d.Device != "disk" && d.Device != "lun" || d.ReadOnly != nil || d.Target == nil {
			continue
		}
		all[d.Target.Dev] = diskSource(d.Source)
	}
	return all
}

func diskSource(s *libvirtxml.DomainDiskSource) string {
	switch {
	case s == nil:
	case s.File != nil:
		return s.File.File
	case s.Block != nil:
		return s.Block.Dev
	case s.Volume != nil:
		return s.Volume.Pool + " " + s.Volume.Volume
	case s.Network != nil:
		return s.Network.Protocol + " " + s.Network.Name
	}
	return ""
}
