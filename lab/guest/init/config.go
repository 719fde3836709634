package main

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	defaultInterval = 100 * time.Millisecond
	minInterval     = time.Millisecond
	maxInterval     = time.Hour
	// maxMiB bounds what may be rewritten, and how much of it in a second.
	maxMiB = 1 << 16
)

// config is what the kernel command line says to this program.
type config struct {
	name     string
	addr     netip.Prefix  // address of eth0 with its network's length
	gateway  netip.Addr    // zero: none
	disk     string        // device of the record; empty: none
	interval time.Duration // between two records
	dirty    int           // MiB of memory to rewrite per second; 0: none
	dirtySet int           // MiB of memory that are rewritten in turn; 0 with dirty: none
	ledger   string        // device of the ledger; empty: none
	database string        // device of the file system that a database has; empty: none
	game     bool          // the initramfs has a game server, which shall run
	noise    int           // per cent of each of their pages that cannot be compressed
}

// Ports that clients use; package guest has them too.
const (
	lightPort    = 7007
	blackoutPort = 7008
	gamePort     = 8303
)

// at is the guest's address with a port.
func (c config) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(c.addr.Addr(), port) }

// parseConfig reads the "vmferry." words of a kernel command line. Everything
// else on the line is the kernel's. The first word that is wrong is the error.
func parseConfig(cmdline string) (config, error) {
	c := config{name: "guest", interval: defaultInterval, noise: 100}
	for _, word := range strings.Fields(cmdline) {
		key, value, ok := strings.Cut(word, "=")
		if !strings.HasPrefix(key, "vmferry.") {
			continue
		}
		if !ok || value == "" {
			return config{}, errors.New("kernel command line: " + word + " has no value")
		}
		if err := c.set(key, value); err != nil {
			return config{}, errors.New("kernel command line: " + word + ": " + err.Error())
		}
	}
	if !c.addr.IsValid() {
		return config{}, errors.New("kernel command line: no vmferry.ip=ADDRESS/LENGTH")
	}
	if (c.dirty > 0) != (c.dirtySet > 0) {
		return config{}, errors.New("kernel command line: vmferry.dirty=MIB_PER_S and vmferry.dirtyset=MIB go together")
	}
	return c, nil
}

func (c *config) set(key, value string) (err error) {
	switch key {
	case "vmferry.name":
		c.name = value
	case "vmferry.ip":
		c.addr, err = netip.ParsePrefix(value)
		if err == nil && !c.addr.Addr().Is4() {
			err = errors.New("not an IPv4 address")
		}
	case "vmferry.gw":
		c.gateway, err = netip.ParseAddr(value)
		if err == nil && !c.gateway.Is4() {
			err = errors.New("not an IPv4 address")
		}
	case "vmferry.disk":
		c.disk, err = parseDevice(value)
	case "vmferry.ledger":
		c.ledger, err = parseDevice(value)
	case "vmferry.database":
		c.database, err = parseDevice(value)
	case "vmferry.interval":
		c.interval, err = time.ParseDuration(value)
		if err == nil && (c.interval < minInterval || c.interval > maxInterval) {
			err = errors.New("not between 1ms and 1h")
		}
	case "vmferry.game":
		c.game = value == "1"
		if !c.game {
			err = errors.New("not 1")
		}
	case "vmferry.dirty":
		c.dirty, err = parseMiB(value)
	case "vmferry.dirtyset":
		c.dirtySet, err = parseMiB(value)
	case "vmferry.noise":
		c.noise, err = strconv.Atoi(value)
		if err != nil || c.noise < 1 || c.noise > 100 {
			err = errors.New("not a number of per cent from 1 to 100")
		}
	default:
		err = errors.New("unknown key")
	}
	return err
}

func parseDevice(value string) (string, error) {
	if !strings.HasPrefix(value, "/dev/") {
		return "", errors.New("not a device under /dev")
	}
	return value, nil
}

func parseMiB(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxMiB {
		return 0, errors.New("not a number of MiB from 1 to " + strconv.Itoa(maxMiB))
	}
	return n, nil
}
