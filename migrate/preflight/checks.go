package preflight

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
)

// What bounds the checks. A libvirtd that was just started probes its QEMU binaries before it answers with its
// capabilities, which takes seconds, and many on a busy node: that must not be the reason to restart a guest
// elsewhere that could have been migrated.
const (
	connectTime = 10 * time.Second
	askTime     = 5 * time.Second
	capsTime    = 45 * time.Second
	// storageTime is for images at the target: libvirt refreshes a large storage pool for a while.
	storageTime = 20 * time.Second
)

// check is one check of a guest that runs at the source, with both ends connected. It changes nothing, and its error
// is a [*Refusal].
type check struct {
	name  string // of its refusals; some refuse by a more precise one
	limit time.Duration
	ask   func(ctx context.Context, p *inspection) error
}

// checks are all of them, in their order: what names the cause best goes first, and what needs the answers of others
// last.
var checks = []check{
	{CheckSameHost, capsTime, checkSameHost},
	{CheckDuplicate, 2 * endpoint.LookTime, checkDuplicate},
	{CheckHypervisor, askTime, checkHypervisor},
	{CheckMemory, askTime, checkMemory},
	{CheckMemory, askTime, checkHugePages},
	{CheckCPU, askTime, checkCPU},
	{CheckDisk, storageTime, checkDisks},
	{CheckNetwork, askTime, checkNetworks},
	{CheckFirmware, askTime, checkFirmware},
	{CheckHypervisor, askTime, checkAccepted},
	{CheckAddress, askTime, chooseAddress},
	{CheckTLS, 2 * askTime, checkTLS}, // for the address that was chosen
	{CheckLibvirt, 2 * connectTime, checkRehearsal},
}
