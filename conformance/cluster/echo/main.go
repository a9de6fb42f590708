// Command echo is the server inside the test image: small TCP and HTTP
// services that each show one behaviour a port-forward has to carry faithfully.
//
//	echo SERVICE=PORT...    run the named services
//	echo pause              wait for SIGTERM (the pod sandbox's process)
//	echo exit               end at once, successfully
//	echo input              read the input to its end, then write it to the output
//
// The services:
//
//	echo       sends back what it receives, and closes once the client has closed
//	sink       discards what it receives, without ever answering
//	source     sends SOURCE_MIB MiB (environment; 1024 unless told) and closes
//	reset      accepts and at once resets the connection (RST)
//	halfclose  sends "banner\n", closes its sending side, keeps receiving
//	hash       reads a length N (8 bytes, big-endian) and N bytes; answers with
//	           their SHA-256 in hexadecimal and "\n", and closes
//	random     reads N (8 bytes, big-endian), sends the first N bytes of the
//	           sequence N (see sequence), and closes once the client has closed
//	early      reads the line "go\n", sends the first 65536 bytes of the sequence
//	           65536 without waiting for more, and closes once the client has closed
//	late       reads a line with a number of milliseconds, and all until the client
//	           closes; only then waits as long, a minute at most, sends "late\n" and
//	           closes
//	neverreads accepts, and reads and sends nothing
//	http       the routes listed at routes
//
// Every connection is logged when it ends, with the bytes received and sent;
// the totals and the latest connections are at http's /stats.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var services = map[string]func(*net.TCPConn) (received, sent int64, err error){
	"echo":       echo,
	"sink":       sink,
	"source":     source,
	"reset":      reset,
	"halfclose":  halfClose,
	"hash":       hash,
	"random":     random,
	"early":      early,
	"late":       late,
	"neverreads": neverReads,
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if len(os.Args) < 2 {
		log.Fatal("usage: echo SERVICE=PORT... | echo pause | echo exit | echo input")
	}
	switch os.Args[1] {
	case "exit":
		return
	case "input":
		// All of it first: output behind the end of the input shows that only the input has ended.
		all, err := io.ReadAll(os.Stdin)
		if err == nil {
			_, err = os.Stdout.Write(all)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if os.Args[1] != "pause" {
		for _, arg := range os.Args[1:] {
			name, port, _ := strings.Cut(arg, "=")
			l, err := net.Listen("tcp", ":"+port)
			if err != nil {
				log.Fatal(err)
			}
			log.Printf("%s on %s", name, l.Addr())
			switch serve := services[name]; {
			case name == "http":
				go http.Serve(l, routes())
			case serve != nil:
				go accept(name, l, serve)
			default:
				log.Fatalf("no service named %q", name)
			}
		}
	}
	log.Print(<-stop)
}

func accept(name string, l net.Listener, serve func(*net.TCPConn) (int64, int64, error)) {
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		stats.opened(name)
		go func() {
			defer c.Close()
			began := time.Now()
			received, sent, err := serve(c.(*net.TCPConn))
			stats.closed(name, received, sent, err, time.Since(began))
		}()
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

var sunkBytes atomic.Int64

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

// neverReads leaves what it gets to the kernel, until the client resets or a day has passed.
func neverReads(c *net.TCPConn) (int64, int64, error) {
	time.Sleep(24 * time.Hour)
	return 0, 0, nil
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
	return thenDrain(c, received, n)
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
	return thenDrain(c, int64(n), 64<<10)
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

// thenDrain sends the sequence n and reads until the client closes; received is
// what was read before.
func thenDrain(c *net.TCPConn, received, n int64) (int64, int64, error) {
	sent, err := io.CopyN(c, newSequence(n), n)
	if err != nil {
		return received, sent, err
	}
	more, err := io.Copy(io.Discard, c)
	return received + more, sent, err
}

// sequence is an endless sequence of bytes that its seed determines, for a client
// to check what it got without having it sent. It is xorshift64*: the state x
// begins as the seed, and every step does, modulo 2^64,
//
//	x ^= x >> 12; x ^= x << 25; x ^= x >> 27
//
// and yields x * 0x2545F4914F6CDD1D as 8 bytes, the lowest first. Where a length
// is no multiple of 8, the end of the last 8 bytes is not used. The sequence 20, cut
// to 20 bytes,
// is edae3ace32400e2e d071ab4cdca27535 e4f1710f.
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

func routes() http.Handler {
	mux := http.NewServeMux()
	// GET / : which pod answered
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintf(w, "hello from %s (%s)\n", host, r.Host)
	})
	// POST /echo : the request's body
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	})
	// GET /bytes/N : N bytes
	mux.HandleFunc("GET /bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil || n < 0 {
			http.Error(w, "not a count", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		chunk := make([]byte, 64<<10)
		for ; n > 0; n -= int64(len(chunk)) {
			if _, err := w.Write(chunk[:min(n, int64(len(chunk)))]); err != nil {
				return
			}
		}
	})
	// GET /slow?ms=M : answers after M milliseconds
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintf(w, "waited %d ms\n", ms)
	})
	// GET /stream?n=N&ms=M : N lines, each sent M milliseconds after the one before
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		for i := range n {
			fmt.Fprintf(w, "line %d\n", i)
			http.NewResponseController(w).Flush()
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
	})
	// POST /exit : ends the process, so that kubelet restarts the container
	mux.HandleFunc("POST /exit", func(w http.ResponseWriter, r *http.Request) {
		log.Fatal("told to exit")
	})
	// GET /stats : what the TCP services of this process have seen
	mux.Handle("GET /stats", &stats)
	return mux
}

// stats counts the TCP services' connections.
var stats statistics

type statistics struct {
	mu     sync.Mutex
	open   map[string]int
	total  map[string]int
	latest []connection
}

type connection struct {
	Service        string
	Received, Sent int64
	Error          string
	Seconds        float64
}

func (s *statistics) opened(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open, s.total = map[string]int{}, map[string]int{}
	}
	s.open[name]++
	s.total[name]++
}

func (s *statistics) closed(name string, received, sent int64, err error, took time.Duration) {
	c := connection{Service: name, Received: received, Sent: sent, Seconds: took.Seconds()}
	if err != nil {
		c.Error = err.Error()
	}
	log.Printf("%s: received %d, sent %d, %.3f s %s", name, received, sent, c.Seconds, c.Error)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[name]--
	s.latest = append(s.latest, c)
	s.latest = s.latest[max(0, len(s.latest)-50):]
}

func (s *statistics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(map[string]any{"open": s.open, "total": s.total, "latest": s.latest, "sunk": sunkBytes.Load()})
}
