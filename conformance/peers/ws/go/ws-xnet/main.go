// Command ws-xnet is golang.org/x/net/websocket as a peer. See ../../README.md for what it is asked to do.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"golang.org/x/net/websocket"

	"ws/shared"
)

func main() { shared.Main(serve, client) }

// A frame is what the library reads as a message, with the opcode of the first one.
type frame struct {
	opcode  byte
	payload []byte
}

var frames = websocket.Codec{
	Marshal: func(v any) ([]byte, byte, error) {
		f := v.(frame)
		return f.payload, f.opcode, nil
	},
	Unmarshal: func(payload []byte, opcode byte, v any) error {
		*v.(*frame) = frame{opcode, payload}
		return nil
	},
}

func serve(l net.Listener) error {
	return http.Serve(l, websocket.Server{
		Handshake: func(config *websocket.Config, _ *http.Request) error {
			// What is left here is the answer, and it has to be one at most.
			config.Protocol = slices.DeleteFunc(config.Protocol, func(name string) bool {
				return !slices.Contains(shared.Known, name)
			})
			config.Protocol = config.Protocol[:min(len(config.Protocol), 1)]
			return nil
		},
		Handler: func(c *websocket.Conn) {
			defer c.Close() // which says so
			c.MaxPayloadBytes = shared.Largest
			for {
				var f frame
				err := frames.Receive(c, &f)
				if err == nil {
					err = frames.Send(c, f)
				}
				if errors.Is(err, io.EOF) {
					return
				}
				if err != nil {
					shared.Say(err)
					return
				}
			}
		},
	})
}

// connection does not close when the library does, which is at once, and knows whether the other end has:
// for the library that and a close frame are the same.
type connection struct {
	net.Conn
	ended bool
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.ended = c.ended || err != nil
	return n, err
}

func (c *connection) Close() error { return nil }

func client(args shared.Client) error {
	address := "127.0.0.1:" + args.Port
	config, err := websocket.NewConfig("ws://"+address+"/", "http://"+address+"/")
	if err != nil {
		return err
	}
	config.Protocol = []string{shared.Offered}
	tcp, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer tcp.Close()
	under := &connection{Conn: tcp}
	c, err := websocket.NewClient(config, under)
	if err != nil {
		return err
	}
	c.MaxPayloadBytes = shared.Largest

	for _, f := range []frame{
		{websocket.TextFrame, []byte("hello")},
		{websocket.BinaryFrame, nil},
		{websocket.PingFrame, []byte("first")},
	} {
		if err := frames.Send(c, f); err != nil {
			return err
		}
	}
	next := func() (bool, []byte, error) {
		var f frame
		err := frames.Receive(c, &f)
		return f.opcode == websocket.TextFrame, f.payload, err
	}
	if text, message, err := next(); err != nil || !text || string(message) != "hello" {
		return fmt.Errorf("first %d bytes (text: %t): %v", len(message), text, err)
	}
	fmt.Println("ok hello")
	if text, message, err := next(); err != nil || text || len(message) != 0 {
		return fmt.Errorf("second %d bytes (text: %t): %v", len(message), text, err)
	}
	fmt.Println("ok empty")

	sent := make(chan error, 1)
	go func() { sent <- send(c, args) }()
	if err := args.Receive(false, next); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}

	if err := c.Close(); err != nil {
		return err
	}
	// The frame that ends a fragmented message may be an empty one.
	for err == nil {
		var rest []byte
		if _, rest, err = next(); len(rest) > 0 {
			return errors.New("more than was sent")
		}
	}
	if !errors.Is(err, io.EOF) || under.ended {
		return fmt.Errorf("the end, without close: %w", err)
	}
	fmt.Println("ok close")
	return nil
}

func send(c *websocket.Conn, args shared.Client) error {
	random := shared.NewRandom(args.Seed ^ 0x5bd1e995)
	lengths := args.Lengths()
	for at := 0; lengths.Left > 0; {
		length := lengths.Next()
		if err := frames.Send(c, frame{websocket.BinaryFrame, shared.Pattern(at, length)}); err != nil {
			return err
		}
		at += length
		if random.Below(2) == 0 {
			if err := frames.Send(c, frame{websocket.PingFrame, []byte("between")}); err != nil {
				return err
			}
		}
	}
	return nil
}
