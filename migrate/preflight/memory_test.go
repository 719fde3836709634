package preflight

import (
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"
)

func TestJudgeMemory(t *testing.T) {
	for _, c := range []struct {
		need, free     uint64
		fixed          bool
		mode           MemoryMode
		short, refused bool
	}{
		{512, 512, false, MemoryRefuse, false, false},
		{513, 512, false, "", true, false},
		{513, 512, false, MemoryWarn, true, false},
		{513, 512, false, MemoryRefuse, true, true},
		{513, 512, false, MemoryIgnore, false, false},
		{0, 0, true, MemoryRefuse, false, false},
		{513, 512, true, "", true, true},
		{513, 512, true, MemoryIgnore, true, true},
		{512, 512, true, MemoryRefuse, false, false},
	} {
		if short, refused := JudgeMemory(c.need, c.free, c.fixed, c.mode); short != c.short || refused != c.refused {
			t.Errorf("%+v: short %v, refused %v", c, short, refused)
		}
	}
}

func TestHugePages(t *testing.T) {
	for _, c := range []struct {
		backing     string
		size, pages uint64
	}{
		{``, 0, 0},
		{`<memoryBacking><hugepages/></memoryBacking>`, 0, 0},
		{`<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages></memoryBacking>`, 2048, 256},
		{`<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>`, 1 << 20, 1},
		{`<memoryBacking><hugepages><page size='2048'/><page size='1' unit='G' nodeset='1'/></hugepages></memoryBacking>`, 0, 0},
		{`<memoryBacking><hugepages><page size='0'/></hugepages></memoryBacking>`, 0, 0},
	} {
		d := &libvirtxml.Domain{}
		if err := d.Unmarshal(strings.Replace(guestDoc, "<devices>", c.backing+"<devices>", 1)); err != nil {
			t.Fatal(err)
		}
		if size, pages := hugePages(d); size != c.size || pages != c.pages {
			t.Errorf("%s: %d pages of %d KiB", c.backing, pages, size)
		}
	}
}
