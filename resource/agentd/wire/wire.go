package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/resource/ocf"
)

const (
	// Schema is the version of both forms. Another version is refused.
	Schema = 1
	// MaxSize is the longest request or answer in bytes, its newline included.
	MaxSize = 128 << 10
	// Enter is the action of a request for a migration's turn, which package admission
	// continues with. It is none of a Request's.
	Enter = "enter"
	// Socket is the name of the daemon's socket in the agent's run directory.
	Socket = "agent.sock"
)

// Request asks for one look at a guest.
type Request struct {
	Schema  int      `json:"schema"`
	Action  string   `json:"action"`  // "monitor" or "status"
	Environ []string `json:"environ"` // NAME=VALUE; OCF_* and HA_* only
}

// Answer is what came of it, as the agent itself would have reported it.
type Answer struct {
	Schema int `json:"schema"`
	// Declined says in words why the daemon leaves this one to the agent; the
	// other fields mean nothing then.
	Declined string       `json:"declined,omitempty"`
	Code     ocf.ExitCode `json:"code"`
	Reason   string       `json:"reason,omitempty"` // the exit reason, without its prefix
	Log      []string     `json:"log,omitempty"`    // lines for standard error, in order
}

// Serves reports whether the daemon does an action.
func Serves(action string) bool { return action == "monitor" || action == "status" }

// IsEnter reports whether a line that a client sent asks for a migration's turn.
func IsEnter(line []byte) bool {
	var r struct {
		Action string `json:"action"`
	}
	return Decode(line, &r) == nil && r.Action == Enter
}

// Passes reports whether a variable, as NAME=VALUE, belongs into a request: what OCF and
// Heartbeat tell their agents.
func Passes(variable string) bool {
	name, _, ok := strings.Cut(variable, "=")
	return ok && (strings.HasPrefix(name, "OCF_") || strings.HasPrefix(name, "HA_")) &&
		!strings.Contains(variable, "\x00")
}

// NewRequest takes what belongs into a request from an environment.
func NewRequest(action string, environ []string) Request {
	passed := slices.DeleteFunc(append([]string{}, environ...), func(v string) bool { return !Passes(v) })
	return Request{Schema: Schema, Action: action, Environ: passed}
}

// DecodeRequest reads a line that a client sent. Nothing in it is to be trusted but
// what is checked here.
func DecodeRequest(line []byte) (Request, error) {
	var r Request
	if err := Decode(line, &r); err != nil {
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	switch {
	case r.Schema != Schema:
		return Request{}, fmt.Errorf(
			"read request: schema is %d, this daemon speaks %d: restart vmferryd after an upgrade", r.Schema, Schema)
	case !Serves(r.Action):
		return Request{}, fmt.Errorf("read request: action %q is not the daemon's", r.Action)
	}
	if i := slices.IndexFunc(r.Environ, func(v string) bool { return !Passes(v) }); i >= 0 {
		return Request{}, fmt.Errorf("read request: variable %.40q is neither OCF_… nor HA_…", r.Environ[i])
	}
	return r, nil
}

// DecodeAnswer reads a line that the daemon sent. That it declined is an error. The exit
// code 0 says that a guest runs, and does not come of an empty object: the schema is requested.
func DecodeAnswer(line []byte) (Answer, error) {
	var a Answer
	if err := Decode(line, &a); err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	switch {
	case a.Schema != Schema:
		return Answer{}, fmt.Errorf("read answer: schema is %d, this agent speaks %d", a.Schema, Schema)
	case a.Declined != "":
		return Answer{}, fmt.Errorf("the daemon declined: %s", a.Declined)
	case a.Code < 0 || a.Code > 255:
		return Answer{}, fmt.Errorf("read answer: %d is not an exit code", a.Code)
	}
	return a, nil
}

// Decode reads one JSON value that is all of the line, which must be no longer than MaxSize.
func Decode(line []byte, value any) error {
	if len(line) > MaxSize {
		return errTooLong
	}
	return json.Unmarshal(line, value)
}

var errTooLong = errors.New("it is too long")

// ReadLine reads up to the newline that ends a message, which must be no longer than MaxSize.
func ReadLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > MaxSize:
			return nil, errTooLong
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// Encode writes a message as a line.
func Encode(value any) ([]byte, error) {
	line, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	line = append(line, '\n')
	if len(line) > MaxSize {
		return nil, errTooLong
	}
	return line, nil
}
