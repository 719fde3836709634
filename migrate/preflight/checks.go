package preflight

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
)

// entry is one check of a guest that runs at the source, with both ends connected. It changes nothing, and its error
// is a [*Refusal].
type entry struct {
	name  string // of its refusals; some refuse by a more precise one
	limit time.Duration
	ask   func(ctx context.Context, p *inspection) error
}

// table has all of them, in their order: what names the cause best goes first, and what needs the answers of others
// last.
var table = []entry{
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
