package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/moby/spdystream"
)

// What the other end of a stream called `first` sent, for `recall`.
var recalled = make(chan string, 1)

// pattern is what every source sends: byte i is i % 251.
type pattern struct{ at, left int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.left))
	for i := range b[:n] {
		b[i] = byte((p.at + int64(i)) % 251)
	}
	p.at += int64(n)
	p.left -= int64(n)
	return n, nil
}

func sum(r io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func patternSum(n int64) string {
	s, _ := sum(&pattern{left: n})
	return s
}

// copyAll writes all of r with 32 KiB a frame, as Kubernetes' copy loops do.
func copyAll(w io.Writer, r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 32<<10))
	return err
}

func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("port %d\n", listener.Addr().(*net.TCPAddr).Port)
	socket, err := listener.Accept()
	if err != nil {
		return err
	}
	listener.Close()
	conn, err := spdystream.NewConnection(socket, true)
	if err != nil {
		return err
	}
	conn.Serve(func(stream *spdystream.Stream) {
		// The answer leaves before the next frame of the stream is handled: this library drops DATA
		// that comes on a stream which it has not answered.
		if accept(stream) {
			go answer(stream)
		}
	})
	fmt.Println("end")
	return conn.Close()
}

// accept answers a stream, unless its opener asks for a refusal.
func accept(stream *spdystream.Stream) bool {
	if stream.Headers().Get("X-Test") == "refuse" {
		_ = stream.Refuse()
		return false
	}
	return stream.SendReply(http.Header{":status": {"200"}, ":version": {"HTTP/1.1"}}, false) == nil
}

// answer does what the opener asked for. An error shows at the opener.
func answer(stream *spdystream.Stream) {
	want := stream.Headers()
	switch want.Get("X-Test") {
	case "echo":
		_ = copyAll(stream, stream)
		_ = stream.Close()
	case "source":
		n, _ := strconv.ParseInt(want.Get("X-Length"), 10, 64)
		_ = copyAll(stream, &pattern{left: n})
		_ = stream.Close()
	case "sink":
		s, _ := sum(stream)
		_ = stream.WriteData([]byte(s), true)
	case "reset":
		_, _ = stream.Write([]byte("0123456789"))
		_ = stream.Reset()
	case "first":
		_, _ = stream.Write([]byte("first"))
		_ = stream.Close()
		s, _ := sum(stream)
		recalled <- s
	case "recall":
		_ = stream.WriteData([]byte(<-recalled), true)
	case "headers":
		_ = stream.SendHeader(http.Header{"x-more": {"yes"}}, false)
		_ = stream.WriteData([]byte("after"), true)
	case "headers-echo":
		h, _ := stream.ReceiveHeader()
		_ = stream.SendHeader(h, false)
		_ = stream.Close()
	default:
		_ = stream.Reset()
	}
}

type opener struct{ *spdystream.Connection }

func (o opener) open(test string, length int64) (*spdystream.Stream, error) {
	h := http.Header{"X-Test": {test}, "X-Length": {strconv.FormatInt(length, 10)}}
	stream, err := o.CreateStream(h, nil, false)
	if err != nil {
		return nil, err
	}
	return stream, stream.WaitTimeout(20 * time.Second)
}

func (o opener) echo(n int64) error {
	stream, err := o.open("echo", 0)
	if err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() { wrote <- errors.Join(copyAll(stream, &pattern{left: n}), stream.Close()) }()
	got, err := sum(stream)
	return errors.Join(err, <-wrote, same(got, patternSum(n)))
}

func same[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("%v instead of %v", got, want)
	}
	return nil
}

// all reads to the end, then says it has nothing more to say.
func (o opener) all(test string, length int64) ([]byte, error) {
	stream, err := o.open(test, length)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(stream)
	return got, errors.Join(err, stream.Close())
}

type step struct {
	name string
	do   func() error
}

// more waits for the HEADERS that the other end sends.
func more(stream *spdystream.Stream) error {
	h, err := stream.ReceiveHeader()
	if err != nil {
		return err
	}
	return same(h.Get("X-More"), "yes")
}

func client(args []string) error {
	if len(args) == 0 {
		return errors.New("which port?")
	}
	size := int64(8 << 20)
	if len(args) > 1 {
		n, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		size = n
	}
	socket, err := net.Dial("tcp", "127.0.0.1:"+args[0])
	if err != nil {
		return err
	}
	conn, err := spdystream.NewConnection(socket, false)
	if err != nil {
		return err
	}
	go conn.Serve(spdystream.NoOpStreamHandler)
	o := opener{conn}
	steps := []step{
		{"ping", func() error { _, err := conn.Ping(); return err }},
		{"echo", func() error { return o.echo(5) }},
		{"empty", func() error { return o.echo(0) }},
		{"source", func() error {
			stream, err := o.open("source", size)
			if err != nil {
				return err
			}
			got, err := sum(stream)
			return errors.Join(err, stream.Close(), same(got, patternSum(size)))
		}},
		{"sink", func() error {
			stream, err := o.open("sink", 0)
			if err != nil {
				return err
			}
			if err := errors.Join(copyAll(stream, &pattern{left: size}), stream.Close()); err != nil {
				return err
			}
			got, err := io.ReadAll(stream)
			return errors.Join(err, same(string(got), patternSum(size)))
		}},
		// This library reads a reset as the end.
		{"reset", func() error {
			stream, err := o.open("reset", 0)
			if err != nil {
				return err
			}
			got, err := io.ReadAll(stream)
			return errors.Join(err, same(string(got), "0123456789"))
		}},
		{"refuse", func() error {
			_, err := o.open("refuse", 0)
			if !errors.Is(err, spdystream.ErrReset) {
				return fmt.Errorf("not refused: %v", err)
			}
			return nil
		}},
		{"first", func() error {
			stream, err := o.open("first", 0)
			if err != nil {
				return err
			}
			got, err := io.ReadAll(stream)
			if err := errors.Join(err, same(string(got), "first")); err != nil {
				return err
			}
			if err := errors.Join(copyAll(stream, &pattern{left: 100_000}), stream.Close()); err != nil {
				return err
			}
			got, err = o.all("recall", 0)
			return errors.Join(err, same(string(got), patternSum(100_000)))
		}},
		{"fifty", func() error {
			var group sync.WaitGroup
			errs := make([]error, 50)
			for i := range errs {
				group.Go(func() { errs[i] = o.echo(64 << 10) })
			}
			group.Wait()
			return errors.Join(errs...)
		}},
		{"ping", func() error { _, err := conn.Ping(); return err }},
	}
	if len(args) > 2 {
		steps = append(steps, step{"headers", func() error {
			stream, err := o.open("headers", 0)
			if err != nil {
				return err
			}
			if err := more(stream); err != nil {
				return err
			}
			got, err := io.ReadAll(stream)
			return errors.Join(err, stream.Close(), same(string(got), "after"))
		}}, step{"headers-echo", func() error {
			stream, err := o.open("headers-echo", 0)
			if err != nil {
				return err
			}
			if err := stream.SendHeader(http.Header{"x-more": {"yes"}}, false); err != nil {
				return err
			}
			if err := more(stream); err != nil {
				return err
			}
			_, err = io.ReadAll(stream)
			return errors.Join(err, stream.Close())
		}})
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("ok", step.name)
	}
	return conn.Close()
}
