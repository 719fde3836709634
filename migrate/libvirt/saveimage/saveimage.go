package saveimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrPartial says that libvirt has not written the file to its end, or that it is cut off.
var ErrPartial = errors.New("it is incomplete")

// maxXML is far above any guest's description, in bytes, with the 64 KiB that libvirt leaves free behind it.
const maxXML = 8 << 20

const (
	qemuSaved   = "LibvirtQemudSave"
	qemuPartial = "LibvirtQemudPart"
	xenSaved    = "libvirt-xml\n \x00 \r"

	magicSize   = 16
	qemuHeader  = 92 // magic, five numbers, and 14 that are free
	xenHeader   = 64 // magic, two numbers, and ten that are free
	qemuVersion = 2  // the highest; more is the other byte order
)

// Image is what comes before the memory.
type Image struct {
	XML  string // the guest's description, by which libvirt restores it
	Size int64  // of all that comes before, in bytes; the memory follows
}

// Read reads the beginning of a file, and no more than a description can be long. Its errors are [ErrPartial], and
// those of r; a file of another kind is an error, too.
func Read(r io.Reader) (Image, error) {
	magic := make([]byte, magicSize)
	if err := fill(r, magic); err != nil {
		return Image{}, err
	}
	switch string(magic) {
	case qemuPartial:
		return Image{}, ErrPartial
	case qemuSaved:
		return readQEMU(r)
	case xenSaved:
		return readXen(r)
	}
	return Image{}, errors.New("it is not a libvirt save image")
}

func readQEMU(r io.Reader) (Image, error) {
	head := make([]byte, qemuHeader-magicSize)
	if err := fill(r, head); err != nil {
		return Image{}, err
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if order.Uint32(head) > qemuVersion {
		order = binary.BigEndian
	}
	if v := order.Uint32(head); v > qemuVersion {
		return Image{}, fmt.Errorf("unknown save image version %d", v)
	}
	data, cookie := order.Uint32(head[4:]), order.Uint32(head[16:])
	if cookie > data {
		return Image{}, errors.New("the header of the saved state is inconsistent")
	}
	text, err := readXML(r, data)
	if cookie > 0 && err == nil {
		text = text[:cookie]
	}
	return Image{XML: cString(text), Size: qemuHeader + int64(data)}, err
}

func readXen(r io.Reader) (Image, error) {
	head := make([]byte, xenHeader-magicSize)
	if err := fill(r, head); err != nil {
		return Image{}, err
	}
	length := binary.LittleEndian.Uint32(head[4:])
	text, err := readXML(r, length)
	return Image{XML: cString(text), Size: xenHeader + int64(length)}, err
}

func readXML(r io.Reader, length uint32) ([]byte, error) {
	if length == 0 || length > maxXML {
		return nil, fmt.Errorf("the saved state has a description of %d bytes", length)
	}
	text := make([]byte, length)
	return text, fill(r, text)
}

func cString(text []byte) string {
	text, _, _ = bytes.Cut(text, []byte{0})
	return string(text)
}

func fill(r io.Reader, buf []byte) error {
	_, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrPartial
	}
	return err
}
