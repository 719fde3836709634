package guest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Offsets into a bzImage, from the kernel's Documentation/arch/x86/boot.rst.
const (
	bzSetupSects     = 0x1f1
	bzMagic          = 0x202
	bzVersion        = 0x206
	bzPayloadOffset  = 0x248
	bzPayloadLength  = 0x24c
	bzHeaderEnd      = 0x250
	bzPayloadVersion = 0x208 // first protocol version with a payload
)

// pvhNote is XEN_ELFNOTE_PHYS32_ENTRY: the note that carries the PVH entry point
// (Xen's public/elfnote.h), which QEMU looks for in an ELF kernel.
const pvhNote = 18

// errNotPlain says that a kernel has to be booted compressed, as it is.
var errNotPlain = errors.New("kernel cannot be unpacked for PVH")

// Kernel reads Debian's kernel image at path and returns its unpacked form, or the
// image itself where that cannot be booted. It runs zstd, and ends with ctx.
func Kernel(ctx context.Context, path string) ([]byte, error) {
	image, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	plain, err := plainKernel(ctx, image)
	if errors.Is(err, errNotPlain) {
		return image, nil
	}
	return plain, err
}

// plainKernel unpacks the ELF kernel inside a bzImage. An emulated processor
// takes seconds for what zstd does here in a fraction of one. The error wraps
// errNotPlain when this kernel has no PVH entry or is not packed with zstd.
func plainKernel(ctx context.Context, image []byte) ([]byte, error) {
	packed, err := payload(image)
	if err != nil {
		return nil, err
	}
	plain, err := unpack(ctx, "zstd", packed)
	if err != nil {
		return nil, err
	}
	return plain, checkPVH(plain)
}

// payload cuts the zstd stream out of a bzImage: the kernel's build appends the
// unpacked size, four bytes, to it.
func payload(image []byte) ([]byte, error) {
	if len(image) < bzHeaderEnd || string(image[bzMagic:bzMagic+4]) != "HdrS" {
		return nil, errors.New("no x86 bzImage")
	}
	if binary.LittleEndian.Uint16(image[bzVersion:]) < bzPayloadVersion {
		return nil, fmt.Errorf("%w: boot protocol too old", errNotPlain)
	}
	setup := (uint64(image[bzSetupSects]) + 1) * 512
	start := setup + uint64(binary.LittleEndian.Uint32(image[bzPayloadOffset:]))
	end := start + uint64(binary.LittleEndian.Uint32(image[bzPayloadLength:]))
	if end > uint64(len(image)) || end < start+8 {
		return nil, errors.New("bzImage is cut off")
	}
	packed := image[start : end-4]
	if !bytes.HasPrefix(packed, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return nil, fmt.Errorf("%w: not packed with zstd", errNotPlain)
	}
	return packed, nil
}

func checkPVH(plain []byte) error {
	f, err := elf.NewFile(bytes.NewReader(plain))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotPlain, err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Off+p.Filesz > uint64(len(plain)) || p.Off+p.Filesz < p.Off {
			continue
		}
		if hasNote(plain[p.Off:p.Off+p.Filesz], "Xen", pvhNote) {
			return nil
		}
	}
	return fmt.Errorf("%w: no PVH entry point", errNotPlain)
}

// hasNote looks for a note by owner and type in the bytes of a PT_NOTE segment.
func hasNote(notes []byte, owner string, kind uint32) bool {
	for len(notes) >= 12 {
		nameLen := uint64(binary.LittleEndian.Uint32(notes))
		descLen := uint64(binary.LittleEndian.Uint32(notes[4:]))
		found := binary.LittleEndian.Uint32(notes[8:])
		body := notes[12:]
		size := (nameLen+3)&^3 + (descLen+3)&^3
		if size > uint64(len(body)) {
			return false
		}
		if found == kind && string(bytes.TrimRight(body[:nameLen], "\x00")) == owner {
			return true
		}
		notes = body[size:]
	}
	return false
}
