package client

import (
	"testing"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestXBZRLEOf(t *testing.T) {
	plain := lv.DomainJobInfo{MemPageSize: 4096}
	if got := xbzrleOf(&plain); got != (libvirt.XBZRLEStats{}) {
		t.Errorf("without it: %+v", got)
	}
	with := lv.DomainJobInfo{MemPageSize: 4096, CompressionPagesSet: true, CompressionPages: 1, CompressionBytes: 2,
		CompressionCacheMisses: 3, CompressionOverflow: 4}
	if got, want := xbzrleOf(&with), (libvirt.XBZRLEStats{Pages: 1, Bytes: 2, Misses: 3, Overflows: 4, Page: 4096}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
