package param

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/resource/ocf"
)

// compressions are libvirt's methods (virsh migrate --comp-methods).
var compressions = []string{"mt", "xbzrle", "zlib", "zstd"}

// alwaysDone are options for what is done for every migration.
var alwaysDone = strings.Fields(
	"--live --p2p --auto-converge --abort-on-error --change-protection --verbose --timeout-suspend")

// optionWords are virsh's options for a migration, without the dashes.
// One that takes a value returns false for a value that cannot be meant.
var optionWords = map[string]struct {
	flag  func(*Options)
	value func(*Options, string) bool
}{
	"tunnelled":                       {flag: func(o *Options) { o.Tunnelled = true }},
	"persistent":                      {flag: func(o *Options) { o.Persist = true }},
	"undefinesource":                  {flag: func(o *Options) { o.UndefineSource = true }},
	"copy-storage-all":                {flag: func(o *Options) { o.CopyAll = true }},
	"copy-storage-inc":                {flag: func(o *Options) { o.CopyInc = true }},
	"copy-storage-synchronous-writes": {flag: func(o *Options) { o.SyncWrites = true }},
	"compressed":                      {flag: func(o *Options) { o.Compressed = true }},
	"postcopy":                        {flag: func(o *Options) { o.PostCopy = true }},
	"tls":                             {flag: func(o *Options) { o.TLS = true }},
	"parallel":                        {flag: func(o *Options) { o.Parallel = true }},
	"zerocopy":                        {flag: func(o *Options) { o.ZeroCopy = true }},
	"unsafe":                          {flag: func(o *Options) { o.Unsafe = true }},

	"migrateuri":      {value: func(o *Options, s string) bool { o.MigrateURI = s; return true }},
	"graphicsuri":     {value: func(o *Options, s string) bool { o.GraphicsURI = s; return true }},
	"listen-address":  {value: func(o *Options, s string) bool { o.ListenAddress = s; return true }},
	"tls-destination": {value: func(o *Options, s string) bool { o.TLSDestination = s; return true }},
	"disks-uri":       {value: func(o *Options, s string) bool { o.DisksURI = s; return true }},
	"migrate-disks":   {value: func(o *Options, s string) bool { o.Disks = strings.Split(s, ","); return true }},
	"comp-methods": {value: func(o *Options, s string) bool {
		o.Compression = s
		return slices.Contains(compressions, s)
	}},
	"disks-port":              {value: atMost(65535, func(o *Options, n uint64) { o.DisksPort = int(n) })},
	"parallel-connections":    {value: atMost(255, func(o *Options, n uint64) { o.Connections = int(n) })},
	"auto-converge-initial":   {value: atMost(99, func(o *Options, n uint64) { o.ConvergeInitial = int(n) })},
	"auto-converge-increment": {value: atMost(99, func(o *Options, n uint64) { o.ConvergeIncrement = int(n) })},
	"comp-xbzrle-cache":       {value: atMost(maxNumber, func(o *Options, n uint64) { o.XBZRLECache = n })},
	"bandwidth":               {value: atMost(maxNumber, func(o *Options, n uint64) { o.Bandwidth = n })},
	"timeout":                 {value: atMost(uint64(ocf.MaxTimeout/time.Second), setTimeout)},
}

func setTimeout(o *Options, seconds uint64) { o.Timeout = time.Duration(seconds) * time.Second }

// atMost takes numbers from 1.
func atMost(limit uint64, set func(*Options, uint64)) func(*Options, string) bool {
	return func(o *Options, s string) bool {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n == 0 || n > limit {
			return false
		}
		set(o, n)
		return true
	}
}

// options reads what VirtualDomain passes to virsh migrate. A word that is not known is an
// error: without it the migration would be another one than requested.
func (r *reader) options(name string) Options {
	var o Options
	words := strings.Fields(r.get(name))
	for i := 0; i < len(words); i++ {
		word, value, inline := strings.Cut(words[i], "=")
		known, ok := optionWords[strings.TrimPrefix(word, "--")]
		switch {
		case slices.Contains(alwaysDone, words[i]):
			continue
		case !ok || !strings.HasPrefix(word, "--"):
			r.bad(name, "%s has %q, which this agent does not know or cannot do: remove it", name, words[i])
			return Options{}
		case known.flag != nil && inline:
			r.bad(name, "%s has %q, and %s takes no value: remove what follows it", name, words[i], word)
			return Options{}
		case known.flag != nil:
			known.flag(&o)
			continue
		case !inline && i+1 < len(words):
			i++
			value = words[i]
		}
		if value == "" || strings.HasPrefix(value, "--") || !known.value(&o, value) {
			r.bad(name, "%s has %s with the value %q, which cannot be used: correct or remove it", name, word, value)
			return Options{}
		}
	}
	return o
}
