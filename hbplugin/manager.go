package hbplugin

import (
	"context"
	"fmt"
)

// Manager is the cluster manager of this node. Implementations must be safe
// for use by one goroutine at a time, must obey the context's deadline, and
// must return an error where they cannot tell: a guess would let the machine
// go down under a guest.
type Manager interface {
	fmt.Stringer

	// View says what the manager knows of this node. A manager that does not
	// run here is no error: that is View{Running: false}. A manager that runs
	// and does not answer is one.
	View(ctx context.Context) (View, error)

	// Standby asks that the manager moves everything off this node and puts
	// nothing on it. It returns when the request is accepted, not when the
	// guests have gone, and may be repeated. The request must not outlive a
	// reboot of the node.
	Standby(ctx context.Context) error

	// Unstandby takes back what Standby requested, and nothing that an
	// operator requested by other means.
	Unstandby(ctx context.Context) error
}

// View is one look at this node through the manager.
type View struct {
	Running bool    // the manager runs on this node
	Standby bool    // the node is in standby, whoever requested it
	Guests  []Guest // the guests that the manager has on this node, by name
}

// Guest is a guest on this node, as the manager sees it.
type Guest struct {
	Name   string // the manager's name of it, such as the resource's id
	Moving bool   // the manager is at work on it
	Stuck  string // not empty: why the manager will never move it, such as "unmanaged"
}
