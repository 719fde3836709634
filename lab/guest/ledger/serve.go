package ledger

import (
	"bufio"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"
)

// Port is where a guest's ledger is served, TCP.
const Port = 7010

// A client that is silent for so long is gone; there is one at a time, and room for a few whose node died.
const (
	idleTime   = time.Minute
	maxClients = 8
)

// Serve answers the clients that l accepts, until l is closed.
func (l *Ledger) Serve(listener net.Listener) {
	room := make(chan struct{}, maxClients)
	for {
		room <- struct{}{}
		c, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-room
			time.Sleep(100 * time.Millisecond) // what fails again and again must not take the whole processor
			continue
		}
		go func() {
			defer func() { <-room }()
			l.Converse(c)
		}()
	}
}

// Converse answers one client until it goes away, and closes the connection.
func (l *Ledger) Converse(c net.Conn) {
	defer c.Close()
	out := bufio.NewWriter(c)
	in := bufio.NewScanner(c)
	line(out, "ledger", l.bootID, number(l.generation), number(l.Last()))
	for out.Flush() == nil {
		if c.SetDeadline(time.Now().Add(idleTime)) != nil || !in.Scan() {
			return
		}
		word, value, _ := strings.Cut(in.Text(), " ")
		n, err := strconv.ParseUint(value, 10, 64)
		switch {
		case err != nil:
			line(out, "no", "number")
		case word == "put":
			l.put(out, n)
		case word == "all":
			l.all(out, n)
		default:
			line(out, "no", "such request")
		}
	}
}

func (l *Ledger) put(out *bufio.Writer, n uint64) {
	if err := l.Put(n); err != nil {
		line(out, "no", err.Error())
		return
	}
	line(out, "ok", number(n))
}

func (l *Ledger) all(out *bufio.Writer, first uint64) {
	s, err := l.Scan(first)
	if err != nil {
		line(out, "no", err.Error())
		return
	}
	for _, r := range s.Records {
		line(out, "rec", number(r.Number), number(r.Generation), r.BootID)
	}
	line(out, "end", number(uint64(s.Damaged)))
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// line writes the words; bufio keeps the first error for Flush.
func line(out *bufio.Writer, words ...string) {
	_, _ = out.WriteString(strings.Join(words, " ") + "\n")
}
