// Package demo serves what the containers of the test cluster's pods serve, on
// loopback: the same pod ports, the same behaviour, the same counts at /stats.
// ../../../../cluster/README.md describes both.
package demo

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Port is one that the pod declares.
type Port struct {
	Number int32
	Name   string
	start  func(*counts, net.Listener) // nil where nothing listens
}

// Ports are the pod's, in the order of the cluster's manifest.
var Ports = []Port{
	{8080, "http", serveHTTP},
	{7000, "echo", tcp("echo", echo)},
	{7001, "sink", tcp("sink", sink)},
	{7002, "source", tcp("source", source)},
	{7003, "reset", tcp("reset", reset)},
	{7004, "halfclose", tcp("halfclose", halfClose)},
	{7005, "hash", tcp("hash", hash)},
	{7006, "random", tcp("random", random)},
	{7007, "early", tcp("early", early)},
	{7008, "late", tcp("late", late)},
	{7009, "neverreads", tcp("neverreads", neverReads)},
	{8081, "stats", serveHTTP},
	{7999, "closed", nil},
}

// Start serves all of Ports from now on, and returns where: loopback addresses by
// pod port.
func Start() (map[int32]string, error) {
	addresses := map[int32]string{}
	all := newCounts()
	for _, port := range Ports {
		if port.start == nil {
			continue
		}
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addresses[port.Number] = l.Addr().String()
		of := all
		if port.Number == 8080 {
			of = newCounts() // another container's in the cluster: it has seen no TCP
		}
		go port.start(of, l)
	}
	return addresses, nil
}

// tcp serves connections of a plain TCP service, which says what it received and
// sent.
func tcp(name string, serve func(*net.TCPConn) (received, sent int64, err error)) func(*counts, net.Listener) {
	return func(c *counts, l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
				return
			}
			c.opened(name)
			go func() {
				defer conn.Close()
				began := time.Now()
				received, sent, err := serve(conn.(*net.TCPConn))
				c.closed(name, received, sent, err, time.Since(began))
			}()
		}
	}
}

func echo(c *net.TCPConn) (int64, int64, error) {
	n, err := io.Copy(c, c)
	return n, n, err
}

func sink(c *net.TCPConn) (int64, int64, error) {
	n, err := io.Copy(io.Discard, sunk{c})
	return n, 0, err
}

// sunk counts what is read, so that others need not wait for the end to know.
type sunk struct{ from io.Reader }

func (s sunk) Read(b []byte) (int, error) {
	n, err := s.from.Read(b)
	sunkBytes.Add(int64(n))
	return n, err
}

func source(c *net.TCPConn) (int64, int64, error) {
	mib, err := strconv.ParseInt(os.Getenv("SOURCE_MIB"), 10, 64)
	if err != nil {
		mib = 1024
	}
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i)
	}
	var sent int64
	for range mib {
		n, err := c.Write(chunk)
		sent += int64(n)
		if err != nil {
			return 0, sent, err
		}
	}
	return 0, sent, nil
}

func reset(c *net.TCPConn) (int64, int64, error) {
	return 0, 0, c.SetLinger(0) // so that Close sends RST rather than FIN
}

func halfClose(c *net.TCPConn) (int64, int64, error) {
	sent, err := io.WriteString(c, "banner\n")
	if err != nil {
		return 0, int64(sent), err
	}
	if err := c.CloseWrite(); err != nil {
		return 0, int64(sent), err
	}
	received, err := io.Copy(io.Discard, c)
	return received, int64(sent), err
}

func hash(c *net.TCPConn) (int64, int64, error) {
	n, received, err := length(c)
	if err != nil {
		return received, 0, err
	}
	sum := sha256.New()
	took, err := io.CopyN(sum, c, n)
	received += took
	if err != nil {
		return received, 0, err
	}
	sent, err := fmt.Fprintf(c, "%x\n", sum.Sum(nil))
	return received, int64(sent), err
}

func random(c *net.TCPConn) (int64, int64, error) {
	n, received, err := length(c)
	if err != nil {
		return received, 0, err
	}
	return sequenceThenDrain(c, received, n)
}

func early(c *net.TCPConn) (int64, int64, error) {
	const line = "go\n"
	got := make([]byte, len(line))
	n, err := io.ReadFull(c, got)
	if err == nil && string(got) != line {
		err = fmt.Errorf("got %q, wanted %q", got, line)
	}
	if err != nil {
		return int64(n), 0, err
	}
	return sequenceThenDrain(c, int64(n), 64<<10)
}

func late(c *net.TCPConn) (int64, int64, error) {
	var received counter
	from := bufio.NewReader(io.TeeReader(c, &received))
	line, err := from.ReadSlice('\n')
	if err != nil {
		return int64(received), 0, err
	}
	ms, err := strconv.ParseUint(string(line[:len(line)-1]), 10, 63)
	if err != nil {
		return int64(received), 0, err
	}
	if _, err := io.Copy(io.Discard, from); err != nil {
		return int64(received), 0, err
	}
	time.Sleep(time.Duration(min(ms, 60_000)) * time.Millisecond)
	sent, err := io.WriteString(c, "late\n")
	return int64(received), int64(sent), err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// neverReads leaves what it gets to the kernel, until the client resets or a day has passed.
func neverReads(c *net.TCPConn) (int64, int64, error) {
	time.Sleep(24 * time.Hour)
	return 0, 0, nil
}

// length reads what hash and random begin with.
func length(c *net.TCPConn) (n, received int64, err error) {
	var b [8]byte
	got, err := io.ReadFull(c, b[:])
	if err != nil {
		return 0, int64(got), err
	}
	u := binary.BigEndian.Uint64(b[:])
	if u > math.MaxInt64 {
		return 0, int64(got), fmt.Errorf("length %d is too much", u)
	}
	return int64(u), int64(got), nil
}

// sequenceThenDrain sends the sequence n and reads until the client closes;
// received is what was read before.
func sequenceThenDrain(c *net.TCPConn, received, n int64) (int64, int64, error) {
	sent, err := io.CopyN(c, newSequence(n), n)
	if err != nil {
		return received, sent, err
	}
	more, err := io.Copy(io.Discard, c)
	return received + more, sent, err
}

// sequence is the endless sequence of bytes that its seed determines: xorshift64*,
// each word with its lowest byte first.
type sequence struct {
	x    uint64
	rest []byte // of the latest word, what was not read yet
	word [8]byte
}

func newSequence(seed int64) *sequence { return &sequence{x: uint64(seed)} }

func (s *sequence) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if len(s.rest) == 0 {
			s.x ^= s.x >> 12
			s.x ^= s.x << 25
			s.x ^= s.x >> 27
			binary.LittleEndian.PutUint64(s.word[:], s.x*0x2545F4914F6CDD1D)
			s.rest = s.word[:]
		}
		took := copy(p[n:], s.rest)
		s.rest = s.rest[took:]
		n += took
	}
	return len(p), nil
}

// serveHTTP serves the cluster's routes but POST /exit, there being no container to
// restart.
func serveHTTP(c *counts, l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from peer (%s)\n", r.Host)
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("GET /bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil || n < 0 {
			http.Error(w, "not a count", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		io.CopyN(w, zeroes{}, n)
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintf(w, "waited %d ms\n", ms)
	})
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		for i := range n {
			fmt.Fprintf(w, "line %d\n", i)
			http.NewResponseController(w).Flush()
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
	})
	mux.Handle("GET /stats", c)
	fmt.Fprintln(os.Stderr, "http:", http.Serve(l, mux))
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
