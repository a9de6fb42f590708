// Package shared has what the Go peers have in common. See ../../README.md.
package shared

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Offered is the subprotocol a client asks for; a server selects any of Known.
const Offered = "v4.channel.k8s.io"

var Known = []string{Offered, "SPDY/3.1+portforward.k8s.io"}

// Largest is the number of bytes that a message of either end may have.
const Largest = 64 << 20

const (
	longest = 100_000
	period  = 251
)

var pattern = func() []byte {
	b := make([]byte, period+longest)
	for i := range b {
		b[i] = byte(i % period)
	}
	return b
}()

// Pattern is length bytes of the stream that is sent, from byte at on.
func Pattern(at, length int) []byte { return pattern[at%period:][:length] }

// Random is xorshift32.
type Random uint32

func NewRandom(seed uint32) Random { return Random(max(seed, 1)) }

func (r *Random) Below(limit int) int {
	*r ^= *r << 13
	*r ^= *r >> 17
	*r ^= *r << 5
	return int(uint32(*r) % uint32(limit))
}

// Lengths are those of the messages that a number of bytes is sent in.
type Lengths struct {
	Random Random
	Left   int
}

func (l *Lengths) Next() int {
	length := min(l.Random.Below(longest+1), l.Left)
	l.Left -= length
	return length
}

// Client is what the command line asks a client for.
type Client struct {
	Port  string
	Bytes int
	Seed  uint32
}

func (c Client) Lengths() Lengths { return Lengths{NewRandom(c.Seed), c.Bytes} }

// Receive reads the echo, message by message, by next. A library that tells frames only has no whole
// messages: then only the bytes have to be the same.
func (c Client) Receive(whole bool, next func() (text bool, message []byte, err error)) error {
	lengths, hash := c.Lengths(), sha256.New()
	for at := 0; at < c.Bytes; {
		length := lengths.Next()
		for got := 0; ; {
			text, message, err := next()
			if err != nil {
				return err
			}
			got += len(message)
			if text || got > length || whole && got != length {
				return fmt.Errorf("at byte %d %d bytes (text: %t) instead of %d", at, got, text, length)
			}
			if !bytes.Equal(message, Pattern(at, len(message))) {
				return fmt.Errorf("at byte %d %d bytes, not the same", at, len(message))
			}
			hash.Write(message)
			at += len(message)
			// An empty message is one frame, for all we know.
			if got == length {
				break
			}
		}
	}
	fmt.Printf("ok bulk %x\n", hash.Sum(nil))
	return nil
}

// Main does what the command line says.
func Main(serve func(net.Listener) error, client func(Client) error) {
	args := os.Args[1:]
	limit := 120 * time.Second
	if len(args) == 2 && args[0] == "server" {
		seconds, err := strconv.Atoi(args[1])
		if err != nil {
			Fail(err)
		}
		limit = time.Duration(seconds) * time.Second
	}
	// Nothing here may outlive the test that started it.
	time.AfterFunc(limit, func() { Fail(fmt.Errorf("still there after %s", limit)) })

	var err error
	switch {
	case len(args) >= 1 && len(args) <= 2 && args[0] == "server":
		err = listen(serve)
	case len(args) >= 3 && len(args) <= 4 && args[0] == "client":
		bulk, wrong := strconv.Atoi(args[2])
		seed := uint64(1)
		if wrong == nil && len(args) == 4 {
			seed, wrong = strconv.ParseUint(args[3], 10, 32)
		}
		if wrong != nil {
			Fail(wrong)
		}
		err = client(Client{args[1], bulk, uint32(seed)})
	default:
		err = errors.New("usage: server [SECONDS] | client PORT BYTES [SEED]")
	}
	if err != nil {
		Fail(err)
	}
}

func listen(serve func(net.Listener) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("port", l.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return serve(l)
}

// Say tells a failure that ends one connection.
func Say(err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err) }

// Fail tells one that ends the program.
func Fail(err error) {
	Say(err)
	os.Exit(1)
}
