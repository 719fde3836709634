package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// lookTime bounds one question about where the guest is, and a connection made for it.
const lookTime = 2 * time.Second

// side is one end of a move: its URI, and the connection to it while there is one. It is not
// for use by several goroutines at once.
type side struct {
	uri    string
	open   func(ctx context.Context, uri string) (Host, error)
	host   Host // nil while not connected
	broken bool // a connection was lost, and with it its events
}

func (s *side) connect(ctx context.Context, limit time.Duration) error {
	if s.host != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	host, err := s.open(ctx, s.uri)
	if err != nil {
		return err
	}
	s.host = host
	return nil
}

// look asks for the guest. A connection that gives no answer is closed, and the next look makes
// a new one: libvirtd may have been started again.
func (s *side) look(ctx context.Context, guest string) view {
	if err := s.connect(ctx, lookTime); err != nil {
		return view{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	status, err := s.host.Status(ctx, guest)
	if err != nil && !errors.Is(err, libvirt.ErrNoDomain) {
		s.drop()
	}
	return view{status: status, err: err}
}

func (s *side) drop() {
	s.broken = true
	s.close()
}

func (s *side) close() {
	if s.host != nil {
		_ = s.host.Close()
		s.host = nil
	}
}
