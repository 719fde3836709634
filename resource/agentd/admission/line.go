package admission

import (
	"bufio"
	"net"
	"sync"
	"time"

	"github.com/vmferry/vmferry/resource/agentd/wire"
)

const (
	// talkTime is how long the other side may take to listen.
	talkTime = 5 * time.Second
	// sign is how often the daemon says that an agent still waits, and silence after how long without
	// that the agent takes the daemon for dead.
	sign    = time.Second
	silence = 10 * time.Second
)

// talk is one side's end of the connection.
type talk struct {
	net.Conn
	in *bufio.Reader

	mu sync.Mutex // one message at a time goes out
}

// say sends a message.
func (t *talk) say(value any) error {
	line, err := wire.Encode(value)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.SetWriteDeadline(time.Now().Add(talkTime))
	_, err = t.Write(line)
	return err
}

// hear waits for a message.
func (t *talk) hear() ([]byte, error) { return wire.ReadLine(t.in) }
