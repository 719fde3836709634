package export

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Verb is what a node asks of the storage machine.
type Verb string

// The verbs. Status has neither node nor generation.
const (
	Revoke Verb = "revoke"
	Admit  Verb = "admit"
	Status Verb = "status"
)

// Request is a request of a node.
type Request struct {
	Verb       Verb
	Node       string
	Generation uint64
}

// String is the request as a node writes it.
func (r Request) String() string {
	if r.Verb == Status {
		return string(r.Verb)
	}
	return fmt.Sprintf("%s %s %d", r.Verb, r.Node, r.Generation)
}

// errRequest is the error of what is no request. It does not repeat it.
var errRequest = errors.New("this key may be used for \"revoke NODE GENERATION\", \"admit NODE GENERATION\" " +
	"and \"status\" only")

// ParseRequest reads a request as ssh hands it over: words with one blank between. There is no quoting, and nothing
// else is understood.
func ParseRequest(text string) (Request, error) {
	if text == string(Status) {
		return Request{Verb: Status}, nil
	}
	words := strings.SplitN(text, " ", 4)
	if len(words) != 3 || Verb(words[0]) != Revoke && Verb(words[0]) != Admit || !name.MatchString(words[1]) {
		return Request{}, errRequest
	}
	generation, err := ParseGeneration(words[2])
	if err != nil {
		return Request{}, errRequest
	}
	return Request{Verb(words[0]), words[1], generation}, nil
}

// ParseGeneration reads a generation of a lease: digits, without a sign and without zeros in front.
func ParseGeneration(text string) (uint64, error) {
	generation, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(generation, 10) != text {
		return 0, fmt.Errorf("%q is not the generation of a lease", text)
	}
	return generation, nil
}

// AllowedTo is the error of a request that a node must not make: a node admits nobody but itself, so that no node opens
// what another has revoked, and revokes only others.
func (r Request) AllowedTo(caller string) error {
	switch {
	case r.Verb == Revoke && r.Node == caller:
		return fmt.Errorf("node %s may not revoke its own access", caller)
	case r.Verb == Admit && r.Node != caller:
		return fmt.Errorf("node %s may not admit node %s", caller, r.Node)
	}
	return nil
}
