package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits of the qcow2 format (QEMU's docs/interop/qcow2.rst) that are checked
// before anything is computed from an image's header.
const (
	qcowMagic       = "QFI\xfb"
	minClusterBits  = 9
	maxClusterBits  = 21
	qcowOffsetMask  = 0x00fffffffffffe00
	qcowCompressed  = 1 << 62
	qcowReadsAsZero = 1
)

// ErrUnsupportedImage says that an image uses a part of qcow2 that Guest does
// not follow: a backing file, encryption or compression.
var ErrUnsupportedImage = errors.New("unsupported disk image")

// Guest returns the disk inside an image as its guest sees it. A qcow2 image is
// followed through its tables at every read, so that a view of a running guest's
// image stays true as far as the guest has flushed it; anything else is taken as
// raw and returned as it is. Clusters that were never written read as zeros.
func Guest(image io.ReaderAt) (io.ReaderAt, error) {
	var head [48]byte
	n, err := image.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read disk image: %w", err)
	}
	if !bytes.HasPrefix(head[:n], []byte(qcowMagic)) {
		return image, nil
	}
	q := &qcow{
		image:       image,
		clusterBits: binary.BigEndian.Uint32(head[20:]),
		size:        binary.BigEndian.Uint64(head[24:]),
		l1Entries:   uint64(binary.BigEndian.Uint32(head[36:])),
		l1Table:     binary.BigEndian.Uint64(head[40:]) & qcowOffsetMask,
	}
	switch v := binary.BigEndian.Uint32(head[4:]); {
	case n < len(head):
		return nil, fmt.Errorf("%w: qcow2 header of %d bytes", ErrUnsupportedImage, n)
	case v != 2 && v != 3:
		return nil, fmt.Errorf("%w: qcow2 version %d", ErrUnsupportedImage, v)
	case binary.BigEndian.Uint64(head[8:]) != 0:
		return nil, fmt.Errorf("%w: it has a backing file", ErrUnsupportedImage)
	case binary.BigEndian.Uint32(head[32:]) != 0:
		return nil, fmt.Errorf("%w: it is encrypted", ErrUnsupportedImage)
	case q.clusterBits < minClusterBits || q.clusterBits > maxClusterBits:
		return nil, fmt.Errorf("%w: clusters of 2^%d bytes", ErrUnsupportedImage, q.clusterBits)
	case q.size > 1<<62:
		return nil, fmt.Errorf("%w: disk of %d bytes", ErrUnsupportedImage, q.size)
	}
	return q, nil
}

// qcow reads the guest's view of a qcow2 image.
type qcow struct {
	image       io.ReaderAt
	clusterBits uint32
	size        uint64
	l1Entries   uint64
	l1Table     uint64
}

// ReadAt reads from the guest's disk, as io.ReaderAt says.
func (q *qcow) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read disk image: negative offset %d", off)
	}
	for n < len(p) {
		at := uint64(off) + uint64(n)
		if at >= q.size {
			return n, io.EOF
		}
		inside := at & (q.cluster() - 1)
		part := p[n:min(uint64(len(p)), uint64(n)+q.cluster()-inside, uint64(n)+q.size-at)]
		if err := q.readPart(part, at, inside); err != nil {
			return n, fmt.Errorf("read disk image at %d: %w", at, err)
		}
		n += len(part)
	}
	return n, nil
}

// readPart fills p from the one cluster that holds the guest's byte at.
func (q *qcow) readPart(p []byte, at, inside uint64) error {
	host, err := q.locate(at)
	if err != nil {
		return err
	}
	if host == 0 {
		clear(p)
		return nil
	}
	_, err = q.image.ReadAt(p, int64(host+inside))
	return err
}

// locate walks both tables to the cluster of the guest's byte at; 0 means that
// the cluster reads as zeros.
func (q *qcow) locate(at uint64) (uint64, error) {
	perTable := q.cluster() / 8
	index := at / q.cluster()
	if index/perTable >= q.l1Entries {
		return 0, fmt.Errorf("%w: first table too short", ErrUnsupportedImage)
	}
	l1, err := q.entry(q.l1Table + index/perTable*8)
	if err != nil || l1&qcowOffsetMask == 0 {
		return 0, err
	}
	l2, err := q.entry(l1&qcowOffsetMask + index%perTable*8)
	switch {
	case err != nil:
		return 0, err
	case l2&qcowCompressed != 0:
		return 0, fmt.Errorf("%w: compressed cluster", ErrUnsupportedImage)
	case l2&qcowReadsAsZero != 0:
		return 0, nil
	}
	return l2 & qcowOffsetMask, nil
}

func (q *qcow) entry(at uint64) (uint64, error) {
	var b [8]byte
	if _, err := q.image.ReadAt(b[:], int64(at)); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

func (q *qcow) cluster() uint64 { return 1 << q.clusterBits }
