package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"

	"build/peers/internal/forward"

	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// serveStreaming serves the runtimes' streaming server on loopback, over plain
// HTTP and with the defaults, as containerd does.
func serveStreaming(dial forward.Dial) (streaming.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
	s, err := streaming.NewServer(config, runtime{forward.Runtime{Dial: dial}})
	if err != nil {
		return nil, err
	}
	go func() { fmt.Fprintln(os.Stderr, "streaming:", http.Serve(l, s)) }()
	return s, nil
}

// runtime is the container runtime: it forwards, and nothing else.
type runtime struct{ forward.Runtime }

func (runtime) Exec(context.Context, string, []string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.ErrUnsupported
}

func (runtime) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.ErrUnsupported
}
