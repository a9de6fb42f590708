// Command ws-gorilla is gorilla/websocket as a peer. See ../../README.md for what it is asked to do.
package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"ws/shared"
)

func main() { shared.Main(serve, client) }

// A pong may wait for as long as anything.
func never() time.Time { return time.Now().Add(time.Hour) }

func serve(l net.Listener) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := answer(w, r); err != nil {
			shared.Say(err)
		}
	}))
}

func answer(w http.ResponseWriter, r *http.Request) error {
	// The buffer is the size that the Kubernetes API server has, and so are the shapes of frames.
	upgrader := websocket.Upgrader{Subprotocols: shared.Known, WriteBufferSize: 4096}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadLimit(shared.Largest)
	c.SetPingHandler(func(data string) error {
		return c.WriteControl(websocket.PongMessage, []byte(data), never())
	})
	for {
		kind, message, err := c.ReadMessage()
		if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure {
			return nil
		} else if err != nil {
			return err
		}
		if err := write(c, kind, message); err != nil {
			return err
		}
	}
}

// write is WriteMessage without its way round the buffer.
func write(c *websocket.Conn, kind int, message []byte) error {
	w, err := c.NextWriter(kind)
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	return w.Close()
}

func client(args shared.Client) error {
	random := shared.NewRandom(args.Seed ^ 0x5bd1e995)
	// Frames are as long as the buffer, but for the last of a message.
	dialer := websocket.Dialer{
		Subprotocols:    []string{shared.Offered},
		WriteBufferSize: 512 + random.Below(32768),
	}
	c, _, err := dialer.Dial("ws://127.0.0.1:"+args.Port+"/", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadLimit(shared.Largest)
	// Not here: while a write waits for the other end, reading has to go on.
	c.SetPingHandler(func(data string) error {
		go c.WriteControl(websocket.PongMessage, []byte(data), never())
		return nil
	})

	greeted := false
	c.SetPongHandler(func(data string) error {
		if data == "between" {
			return nil
		}
		if data != "first" || greeted {
			return fmt.Errorf("a pong of %d bytes", len(data))
		}
		fmt.Println("ok ping")
		greeted = true
		return nil
	})
	if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		return err
	}
	if err := c.WriteMessage(websocket.BinaryMessage, nil); err != nil {
		return err
	}
	if err := c.WriteControl(websocket.PingMessage, []byte("first"), never()); err != nil {
		return err
	}
	next := func() (bool, []byte, error) {
		kind, message, err := c.ReadMessage()
		return kind == websocket.TextMessage, message, err
	}
	if text, message, err := next(); err != nil || !text || string(message) != "hello" {
		return fmt.Errorf("first %d bytes (text: %t): %v", len(message), text, err)
	}
	fmt.Println("ok hello")
	if text, message, err := next(); err != nil || text || len(message) != 0 {
		return fmt.Errorf("second %d bytes (text: %t): %v", len(message), text, err)
	}
	fmt.Println("ok empty")

	// The pong is only seen by who reads, so the bulk is what it may wait for.
	sent := make(chan error, 1)
	go func() { sent <- send(c, args, &random) }()
	if err := args.Receive(true, next); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}

	if err := c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), never()); err != nil {
		return err
	}
	_, _, err = c.ReadMessage()
	closed := (*websocket.CloseError)(nil)
	if !errors.As(err, &closed) {
		return fmt.Errorf("a message or no close: %w", err)
	}
	if !greeted {
		return errors.New("no pong")
	}
	fmt.Println("ok close", closed.Code)
	return nil
}

func send(c *websocket.Conn, args shared.Client, random *shared.Random) error {
	lengths := args.Lengths()
	for at := 0; lengths.Left > 0; {
		w, err := c.NextWriter(websocket.BinaryMessage)
		if err != nil {
			return err
		}
		for length := lengths.Next(); length > 0; {
			n := 1 + random.Below(length)
			if _, err := w.Write(shared.Pattern(at, n)); err != nil {
				return err
			}
			at += n
			length -= n
			if random.Below(2) == 0 {
				if err := c.WriteControl(websocket.PingMessage, []byte("between"), never()); err != nil {
					return err
				}
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}
