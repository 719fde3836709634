package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// State is what is remembered of a node's access. The zero value is a node that was never admitted.
type State struct {
	Admitted uint64 `json:"admitted"` // the newest generation that was admitted
	Revoked  uint64 `json:"revoked"`  // this generation and each older one is never admitted again
}

// Open reports whether the node may reach the disks.
func (s State) Open() bool { return s.Admitted > s.Revoked }

// Revoke is the state after a revocation. It fails where the node has been admitted in a newer generation: who asks
// does not know of that one.
func (s State) Revoke(generation uint64) (State, error) {
	if s.Open() && generation < s.Admitted {
		return s, fmt.Errorf("generation %d cannot be revoked: the newer generation %d is admitted", generation,
			s.Admitted)
	}
	s.Revoked = max(s.Revoked, generation)
	return s, nil
}

// Admit is the state after an admission. It fails for a generation that was revoked, and for one that comes late.
func (s State) Admit(generation uint64) (State, error) {
	switch {
	case generation <= s.Revoked:
		return s, fmt.Errorf("generation %d is not admitted: generation %d was revoked, and the node has to take its "+
			"lease again", generation, s.Revoked)
	case generation < s.Admitted:
		return s, fmt.Errorf("generation %d is not admitted: the newer generation %d is", generation, s.Admitted)
	}
	s.Admitted = generation
	return s, nil
}

// load reads a state. Where there is none the node was never admitted; what cannot be read is an error, as nobody knows
// what was revoked.
func load(path string) (s State, err error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return State{}, nil
	case err != nil:
		return State{}, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, fmt.Errorf("%s: %w: shut the node down, and type vmferry-export reset %s", path, err,
			strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	}
	return s, nil
}

// save writes a state, and returns when it is on the disk.
func (s State) save(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := atomicfile.Bytes(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
