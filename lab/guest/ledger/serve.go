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

// Book is a ledger, wherever it is kept. Its methods may be called from any goroutine.
type Book interface {
	BootID() string     // of the kernel
	Generation() uint64 // how many boots have written to it, this one included
	Last() uint64       // the newest number that is durable
	// Put returns nil when the number is durable, see [Ledger.Put].
	Put(number uint64) error
	// Scan reads what is there from the number first on.
	Scan(first uint64) (Scan, error)
}

// Serve answers the clients that listener accepts, until that is closed.
func Serve(listener net.Listener, b Book) {
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
			Converse(c, b)
		}()
	}
}

// Converse answers one client until it goes away, and closes the connection.
func Converse(c net.Conn, b Book) {
	defer c.Close()
	out := bufio.NewWriter(c)
	in := bufio.NewScanner(c)
	line(out, "ledger", b.BootID(), number(b.Generation()), number(b.Last()))
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
			put(out, b, n)
		case word == "all":
			all(out, b, n)
		case word == "fill":
			fill(out, b, n)
		default:
			line(out, "no", "such request")
		}
	}
}

func put(out *bufio.Writer, b Book, n uint64) {
	if err := b.Put(n); err != nil {
		line(out, "no", err.Error())
		return
	}
	line(out, "ok", number(n))
}

// fill is for a book on a disk of its own, which has the room.
func fill(out *bufio.Writer, b Book, n uint64) {
	f, ok := b.(interface{ Fill(mib uint64) error })
	if !ok {
		line(out, "no", "room")
		return
	}
	if err := f.Fill(n); err != nil {
		line(out, "no", err.Error())
		return
	}
	line(out, "ok", number(n))
}

func all(out *bufio.Writer, b Book, first uint64) {
	s, err := b.Scan(first)
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
