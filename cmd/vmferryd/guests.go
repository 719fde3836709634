package main

import (
	"context"
)

type witnesses struct{ dir string }

func newWitnesses(dir string) witnesses { return witnesses{dir} }

// Here implements shutdown.Guests.
func (w witnesses) Here(ctx context.Context) ([]string, error) { return nil, nil }
