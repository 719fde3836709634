package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// maxJSON is the largest report.json that ReadJSON takes, in bytes. A demo of
// a dozen guests makes some 20 kB.
const maxJSON = 16 << 20

// Check tells before anything is run whether a report can be written to dir,
// which it makes when it is missing. It leaves no file behind.
func Check(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the report's directory %q: %w; name one that can be written", dir, err)
	}
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return fmt.Errorf("write to the report's directory %q: %w; name one that can be written", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// WriteJSON writes the report to path as schema 1, indented. The file is
// replaced as a whole and is on disk when WriteJSON returns; on an error the
// old one is still there.
func (r *Report) WriteJSON(path string) error {
	c := *r
	c.Schema = Schema
	if c.Scenarios == nil {
		c.Scenarios = []Scenario{} // "[]" and not "null"
	}
	b, err := json.MarshalIndent(&c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report %q: %w", path, err)
	}
	return replaceFile(path, append(b, '\n'))
}

// ReadJSON reads a report that WriteJSON wrote. Unknown fields are passed
// over, since schema 1 may gain some; another schema, a report without its
// names and anything behind the report are refused.
func ReadJSON(in io.Reader) (*Report, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	if len(b) > maxJSON {
		return nil, fmt.Errorf("read report: larger than %d bytes", maxJSON)
	}
	var r Report
	if err := json.Unmarshal(bytes.TrimSpace(b), &r); err != nil {
		return nil, fmt.Errorf("decode report: %w", err)
	}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("decode report: %w", err)
	}
	return &r, nil
}

// validate checks what the table and the page rely on.
func (r *Report) validate() error {
	if r.Schema != Schema {
		return fmt.Errorf("schema is %d, this program reads %d", r.Schema, Schema)
	}
	for i, s := range r.Scenarios {
		if s.Name == "" || s.Agent == "" {
			return fmt.Errorf("scenario %d has no name or no agent", i)
		}
		for j, g := range s.Guests {
			if g.Guest == "" {
				return fmt.Errorf("scenario %q with %q: guest %d has no name", s.Name, s.Agent, j)
			}
		}
	}
	return nil
}

// replaceFile puts data at path, whole or not at all, and waits for the disk.
func replaceFile(path string, data []byte) error {
	if err := atomicfile.Bytes(path, data, 0o644); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}
