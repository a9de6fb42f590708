// Command spdy-go is moby/spdystream as a peer. See ../README.md for what it is asked to do.
package main

import (
	"fmt"
	"os"
	"time"
)

// Nothing here may outlive the test that started it.
const deadline = 120 * time.Second

func main() {
	time.AfterFunc(deadline, func() { fail(fmt.Errorf("still there after %s", deadline)) })
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: server | client PORT [BYTES [headers]] | decode [CHUNK] | encode"))
	}
	var err error
	switch os.Args[1] {
	case "server":
		err = serve()
	case "client":
		err = client(os.Args[2:])
	case "decode":
		err = decode(os.Args[2:])
	case "encode":
		err = encode()
	default:
		err = fmt.Errorf("no such mode: %s", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "spdy-go:", err)
	os.Exit(1)
}
