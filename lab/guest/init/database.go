package main

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/lab/guest/ledger"
)

// Where a guest with a database has it.
const (
	dataMount      = "/data"
	dataFolder     = dataMount + "/db"
	databaseSocket = "/database/socket"
)

// mountDatabase mounts the file system of the database, where the guest has one. It must be there before the server
// is started.
func mountDatabase(cfg config) error {
	if cfg.database == "" {
		return nil
	}
	err := os.MkdirAll(dataMount, 0o755)
	if err == nil {
		err = syscall.Mount(cfg.database, dataMount, "ext4", 0, "")
	}
	if err == nil {
		err = os.MkdirAll(dataFolder, 0o755)
	}
	if err != nil {
		return errors.New("mount the database: " + err.Error())
	}
	return nil
}

// databaseServer is the command of MariaDB's server. It makes what is missing in an empty folder; without accounts it needs
// no tables of its own. What it commits is on the disk.
func databaseServer() []string {
	return []string{"/database/server", "--no-defaults", "--user=root", "--datadir=" + dataFolder, "--tmpdir=" + dataFolder,
		"--socket=" + databaseSocket, "--skip-networking", "--skip-grant-tables", "--lc-messages-dir=/database",
		"--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=8M", "--innodb-undo-tablespaces=0",
		"--innodb-use-native-aio=0", "--feedback=OFF", "--performance-schema=OFF", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=1M"}
}

// databasePause is between two attempts to reach a server that starts.
const databasePause = 500 * time.Millisecond

// serveDatabase serves the ledger that is in the database, where the guest has one, once its server is up. It does not
// return before the guest goes down.
func serveDatabase(cfg config, bootID string) {
	if cfg.database == "" {
		return
	}
	d := &database{bootID: bootID}
	for said := ""; ; time.Sleep(databasePause) {
		err := d.open()
		if err == nil {
			break
		}
		if err.Error() != said {
			said = err.Error()
			say("vmferry guest " + cfg.name + ": " + said)
		}
	}
	listener, err := net.Listen("tcp4", ":"+strconv.Itoa(ledger.Port))
	if err != nil {
		say("vmferry guest " + cfg.name + ": ledger: " + err.Error())
		return
	}
	ledger.Serve(listener, d)
}

// database is a ledger in a table of InnoDB. One process of mariadb(1) carries its statements all the time: to start
// that for each takes an emulated processor tenths of a second. It ends at the first error, and the next statement starts
// another.
type database struct {
	bootID     string
	generation uint64

	mu   sync.Mutex
	last uint64
	in   *os.File // of the client; nil: it does not run
	out  *os.File
	read *bufio.Reader
}

// open makes the table if it is missing, checks it, and continues the ledger in a new generation.
func (d *database) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines, err := d.ask("CREATE DATABASE IF NOT EXISTS lab; CREATE TABLE IF NOT EXISTS lab.ledger (number BIGINT UNSIGNED " +
		"PRIMARY KEY, generation BIGINT UNSIGNED NOT NULL, boot CHAR(36) CHARACTER SET ascii NOT NULL) ENGINE=InnoDB;" +
		"CHECK TABLE lab.ledger EXTENDED;" +
		"SELECT COALESCE(MAX(number), 0), COALESCE(MAX(generation), 0) FROM lab.ledger;")
	if err != nil {
		return err
	}
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "\tstatus\tOK") {
		return errors.New("the database says " + strings.Join(lines, "; "))
	}
	r, err := parseRow(lines[1] + "\t" + d.bootID)
	d.last, d.generation = r.Number, r.Generation+1
	return err
}

// BootID is the kernel's.
func (d *database) BootID() string { return d.bootID }

// Generation is this boot's.
func (d *database) Generation() uint64 { return d.generation }

// Last is the newest number that this boot knows to be committed.
func (d *database) Last() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Put returns nil when the number is committed.
func (d *database) Put(n uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case n == 0 || n > d.last+1:
		return errors.New("gap: the ledger ends at " + strconv.FormatUint(d.last, 10))
	case n <= d.last:
		return nil
	}
	// A number that was committed before the answer got lost is written again: it is the same.
	if _, err := d.ask("START TRANSACTION; REPLACE INTO lab.ledger VALUES (" + strconv.FormatUint(n, 10) + ", " +
		strconv.FormatUint(d.generation, 10) + ", '" + d.bootID + "'); COMMIT;"); err != nil {
		return err
	}
	d.last = n
	return nil
}

// Scan reads the newest numbers, as many as a ring on a disk would have.
func (d *database) Scan(first uint64) (s ledger.Scan, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last >= ledger.Capacity {
		first = max(first, d.last-ledger.Capacity+1)
	}
	lines, err := d.ask("SELECT number, generation, boot FROM lab.ledger WHERE number >= " +
		strconv.FormatUint(first, 10) + " ORDER BY number;")
	for _, line := range lines {
		r, rerr := parseRow(line)
		if rerr != nil {
			s.Damaged++
			continue
		}
		s.Records = append(s.Records, r)
	}
	return s, err
}

// parseRow reads a row of the table.
func parseRow(line string) (r ledger.Record, err error) {
	words := strings.Split(line, "\t")
	if len(words) != 3 {
		return r, errors.New("the database says " + strconv.Quote(line))
	}
	var gerr error
	r.BootID = words[2]
	r.Number, err = strconv.ParseUint(words[0], 10, 64)
	r.Generation, gerr = strconv.ParseUint(words[1], 10, 64)
	return r, errors.Join(err, gerr)
}

// answered ends the rows that the client prints for a request.
const answered = "answered"

// ask has the client carry out statements, and returns the rows that these have. The caller holds the lock.
func (d *database) ask(statements string) (lines []string, err error) {
	if d.in == nil {
		if _, err := os.Stat(databaseSocket); err != nil {
			return nil, errors.New("the database is not up yet") // which costs less to see than to be told by the client
		}
		if err := d.start(); err != nil {
			return nil, err
		}
	}
	_, err = d.in.WriteString(statements + " SELECT '" + answered + "';\n")
	for err == nil {
		var line string
		if line, err = d.read.ReadString('\n'); err != nil {
			break
		}
		line = strings.TrimSuffix(line, "\n")
		if line == answered {
			return lines, nil
		}
		lines = append(lines, line)
	}
	d.in.Close() //nolint:errcheck // without its input the client ends
	d.out.Close()
	d.in = nil
	return nil, errors.New("the database does not answer: " + err.Error())
}

// start starts the client. Who supervises the services collects it.
func (d *database) start() error {
	theirs, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	out, answers, err := os.Pipe()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	defer answers.Close()
	argv := []string{"/database/client", "--no-defaults", "--user=root", "--socket=" + databaseSocket, "--batch",
		"--skip-column-names", "--unbuffered"}
	attr := &syscall.ProcAttr{Dir: "/", Env: []string{"HOME=/"}, Files: []uintptr{theirs.Fd(), answers.Fd(), 2}}
	if _, err := syscall.ForkExec(argv[0], argv, attr); err != nil {
		return errors.Join(err, in.Close(), out.Close())
	}
	d.in, d.out, d.read = in, out, bufio.NewReader(out)
	return nil
}
