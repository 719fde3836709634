package nvme

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmferry/vmferry/resource/command"
)

// allRegistrants is the reservation type "write exclusive, all registrants".
const allRegistrants = 5

// step is one command of nvme-cli that changes the reservation: its verb and its options. nil: nothing is left to do.
type step []string

// revoke says what is left to do until key is not registered and a reservation of the own key denies its writes.
// "Preempt and abort" ends the commands that are under way.
func revoke(own, key uint64) func(Report) (step, error) {
	return func(r Report) (step, error) {
		switch {
		case own == key:
			return nil, errors.New("a node must not revoke its own access")
		case !r.has(own):
			return nil, fmt.Errorf("this node's key %#x is not registered: type vmferry-nvme admit", own)
		case r.Type != allRegistrants:
			return nil, fmt.Errorf("the reservation is of type %d, not of type %d: a node that is not registered can "+
				"write", r.Type, allRegistrants)
		case r.has(key):
			return step{"resv-acquire", fmt.Sprintf("--crkey=%#x", own), fmt.Sprintf("--prkey=%#x", key),
				fmt.Sprintf("--rtype=%d", allRegistrants), "--racqa=2"}, nil
		}
		return nil, nil
	}
}

// admit says what is left to do until key is registered and there is a reservation. The registration survives a loss of
// power (cptpl).
func admit(key uint64) func(Report) (step, error) {
	return func(r Report) (step, error) {
		switch {
		case r.Type != 0 && r.Type != allRegistrants:
			return nil, fmt.Errorf("the namespace has a reservation of type %d already, not of type %d: somebody else "+
				"uses it", r.Type, allRegistrants)
		case !r.has(key):
			return step{"resv-register", fmt.Sprintf("--nrkey=%#x", key), "--rrega=0", "--cptpl=3"}, nil
		case r.Type == 0:
			return step{"resv-acquire", fmt.Sprintf("--crkey=%#x", key), fmt.Sprintf("--rtype=%d", allRegistrants),
				"--racqa=0"}, nil
		}
		return nil, nil
	}
}

// Driver runs nvme-cli. Run is that of [command.How].
type Driver struct {
	Run func(ctx context.Context, name string, args ...string) (stdout, stderr []byte, err error)
}

// Revoke takes the right to write from the node with key, on all devices, by the own key. nil is the proof, on each
// device: a report that was read after the last change does not have the key, and has a reservation that denies its
// writes. At the end of ctx nothing is proven.
func (d Driver) Revoke(ctx context.Context, own, key uint64, devices []string) error {
	return d.each(ctx, devices, revoke(own, key))
}

// Admit registers key, which is the own one, on all devices.
func (d Driver) Admit(ctx context.Context, key uint64, devices []string) error {
	return d.each(ctx, devices, admit(key))
}

func (d Driver) each(ctx context.Context, devices []string, decide func(Report) (step, error)) error {
	var errs []error
	for _, device := range devices {
		if err := d.settle(ctx, device, decide); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", device, err))
		}
	}
	return errors.Join(errs...)
}

// mostSteps is more than decide needs where nobody else changes the reservation.
const mostSteps = 4

// settle does what decide says, and reads the report again, until nothing is left.
func (d Driver) settle(ctx context.Context, device string, decide func(Report) (step, error)) error {
	for range mostSteps {
		text, err := d.nvme(ctx, "resv-report", device, "--eds", "--output-format=json")
		if err != nil {
			return err
		}
		report, err := ParseReport(text)
		if err != nil {
			return err
		}
		next, err := decide(report)
		if err != nil || next == nil {
			return err
		}
		if _, err := d.nvme(ctx, next[0], device, next[1:]...); err != nil {
			return err
		}
	}
	return fmt.Errorf("the reservation is not as wanted after %d changes: does another program change it?", mostSteps)
}

func (d Driver) nvme(ctx context.Context, verb, device string, options ...string) ([]byte, error) {
	stdout, stderr, err := d.Run(ctx, "nvme", append([]string{verb, device}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("nvme %s: %w", verb, command.Explain(string(stdout)+string(stderr), err))
	}
	return stdout, nil
}
