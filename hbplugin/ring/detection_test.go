package ring

import (
	"fmt"
	"testing"
	"time"
)

// cmap is what corosync-cmapctl prints, shortened.
func cmap(nodes, token, consensus, join int) string {
	text := "nodelist.local_node_pos (u32) = 0\n"
	for n := range nodes {
		text += fmt.Sprintf("nodelist.node.%d.name (str) = n%d\nnodelist.node.%d.nodeid (u32) = %d\n", n, n+1, n, n+1)
	}
	return text + fmt.Sprintf("quorum.two_node (u8) = 1\nruntime.config.totem.consensus (u32) = %d\n"+
		"runtime.config.totem.join (u32) = %d\nruntime.config.totem.token (u32) = %d\n"+
		"runtime.config.totem.token_warning (u32) = 75\ntotem.token (u32) = 9999\n", consensus, join, token)
}

func TestDetection(t *testing.T) {
	for _, tt := range []struct {
		name                          string
		nodes, token, consensus, join int
		after, short                  time.Duration // short is 0 where nothing is advised
	}{
		{"two nodes with defaults", 2, 3000, 3600, 50, 6600 * time.Millisecond, 600 * time.Millisecond},
		{"a long token", 2, 20000, 24000, 50, 44 * time.Second, 2 * time.Second},
		{"a short token", 2, 500, 600, 50, 1100 * time.Millisecond, 200 * time.Millisecond},
		{"a long join", 2, 3000, 3600, 1000, 6600 * time.Millisecond, 2 * time.Second},
		{"a join that leaves no room", 2, 3000, 3600, 1500, 6600 * time.Millisecond, 0},
		{"short already", 2, 3000, 1000, 50, 4 * time.Second, 0},
		{"three nodes", 3, 3650, 4380, 50, 8030 * time.Millisecond, 0},
		{"a single node", 1, 3000, 3600, 50, 6600 * time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ParseDetection(cmap(tt.nodes, tt.token, tt.consensus, tt.join))
			if err != nil || d.After() != tt.after {
				t.Errorf("after %v, %v; want %v", d.After(), err, tt.after)
			}
			if short, ok := d.ShortConsensus(); ok != (tt.short > 0) || ok && short != tt.short {
				t.Errorf("advises %v, %v; want %v", short, ok, tt.short)
			}
		})
	}
}

func TestDetectionOfNoAnswer(t *testing.T) {
	for _, text := range []string{"", "runtime.config.totem.token (u32) = 3000\n", cmap(2, 0, 3600, 50),
		"runtime.config.totem.token (u32) = many\nruntime.config.totem.consensus (u32) = 3600\n",
		"runtime.config.totem.token (u32) = -1\nruntime.config.totem.consensus (u32) = 3600\n"} {
		if d, err := ParseDetection(text); err == nil {
			t.Errorf("%q is %+v", text, d)
		}
	}
}

func FuzzParseDetection(f *testing.F) {
	f.Add(cmap(2, 3000, 3600, 50))
	f.Add("nodelist.node..nodeid\nruntime.config.totem.token=4294967295\nruntime.config.totem.consensus = 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDetection(text)
		if err != nil {
			return
		}
		if d.After() <= 0 {
			t.Errorf("%+v is after %v", d, d.After())
		}
		if short, ok := d.ShortConsensus(); ok && (short <= 0 || short >= d.Token || short < d.Join) {
			t.Errorf("%+v is advised %v", d, short)
		}
	})
}
