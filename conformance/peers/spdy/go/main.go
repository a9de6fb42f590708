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
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: server | client PORT [BYTES [headers]] | decode [CHUNK] | encode | judge"))
	}
	// A fuzzer asks for hours, and takes the judge's input away when it ends.
	if os.Args[1] != "judge" {
		time.AfterFunc(deadline, func() { fail(fmt.Errorf("still there after %s", deadline)) })
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
	case "judge":
		err = judge()
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
