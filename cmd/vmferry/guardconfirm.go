package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/migrate/wait"
)

// confirmTime is more than any lease takes to expire by default, with a hardware watchdog.
const confirmTime = time.Minute

// guardConfirm gives the guard of this node the administrator's word that another node is off.
func guardConfirm(ctx context.Context, c *call, o *guardFlags, rest []string) error {
	node := rest[0]
	if err := c.mayConfirm(ctx, o, node); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	reply, err := control.Call(bounded, c.path(control.Socket), control.Request{Verb: control.Confirm, Node: node})
	switch {
	case ctx.Err() != nil:
		return interrupted(": type vmferry guard log: it says whether node %s was confirmed off", node)
	case err != nil:
		return fmt.Errorf("guard confirm: %w", err)
	case !reply.OK:
		return fmt.Errorf("guard confirm: %s", reply.Why)
	}
	result := struct {
		Schema   int    `json:"schema"`
		Node     string `json:"node"`
		Evidence string `json:"evidence"`
	}{schema, node, reply.Why}
	return c.result(result, func(w io.Writer) error { return say(w, reply.Why+"\n") })
}

// mayConfirm asks the operator.
func (c *call) mayConfirm(ctx context.Context, o *guardFlags, node string) error {
	switch {
	case o.yes:
		return nil
	case c.answer == nil:
		return fmt.Errorf("guard confirm: nothing was done: if you have seen that node %s is off, add --yes", node)
	}
	return c.confirm(ctx, fmt.Sprintf("Have you seen that node %s is off, and cannot come back by itself? If it runs, its "+
		"guests run twice and destroy their disks.", node))
}

// confirm asks the operator at the terminal, who has to type yes.
func (c *call) confirm(ctx context.Context, question string) error {
	fmt.Fprint(c.stderr, question+" Type yes: ")
	answer, err := wait.Within(ctx, c.answer, nil)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil || strings.TrimSpace(answer) != "yes":
		return errors.New(c.name + ": nothing was done: the answer was not yes")
	}
	return nil
}
