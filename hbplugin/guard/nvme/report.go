package nvme

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Report is who may write to a namespace.
type Report struct {
	Type int      // of the reservation; 0: there is none
	Keys []uint64 // that are registered
}

// ParseReport reads what "nvme resv-report --eds --output-format=json" writes. Only what a decision needs is read, and
// all of that must be there: nvme-cli leaves registrants out where its buffer is too small for them.
func ParseReport(text []byte) (Report, error) {
	var raw struct {
		Type        *int `json:"rtype"`
		Count       *int `json:"regctl"`
		Registrants *[]struct {
			Key *uint64 `json:"rkey"`
		} `json:"regctlext"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&raw); err != nil {
		return Report{}, fmt.Errorf("the reservation report is not understood: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Report{}, errors.New("the reservation report is not understood: something follows it")
	}
	if raw.Type == nil || raw.Count == nil || raw.Registrants == nil {
		return Report{}, errors.New("the reservation report lacks rtype, regctl or regctlext: nvme-cli 2.0 or newer " +
			"is needed")
	}
	if len(*raw.Registrants) != *raw.Count {
		return Report{}, fmt.Errorf("the reservation report has %d of %d registrants", len(*raw.Registrants),
			*raw.Count)
	}
	r := Report{Type: *raw.Type}
	for _, registrant := range *raw.Registrants {
		if registrant.Key == nil {
			return Report{}, errors.New("the reservation report has a registrant without rkey")
		}
		r.Keys = append(r.Keys, *registrant.Key)
	}
	return r, nil
}

// has reports whether a key is registered.
func (r Report) has(key uint64) bool { return slices.Contains(r.Keys, key) }
