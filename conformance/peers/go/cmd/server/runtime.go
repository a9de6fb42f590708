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
	"syscall"
	"time"

	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// sandbox is the pod's, to the runtime.
var sandbox = randomHex(32)

// serveStreaming serves the runtimes' streaming server on loopback, over plain
// HTTP and with the defaults, as containerd does.
func serveStreaming(dial dialFunc) (streaming.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
	s, err := streaming.NewServer(config, runtime{dial})
	if err != nil {
		return nil, err
	}
	go func() { fmt.Fprintln(os.Stderr, "streaming:", http.Serve(l, s)) }()
	return s, nil
}

// dialFunc connects to a port on the pod's localhost; network is tcp4 or tcp6.
type dialFunc func(network string, port int32) (net.Conn, error)

// dialHost is of a pod in the host's network.
func dialHost(network string, port int32) (net.Conn, error) {
	return net.Dial(network, fmt.Sprintf("localhost:%d", port))
}

// dialPod is of a pod that listens, over IPv4, at the ports that addresses has.
func dialPod(addresses map[int32]string) dialFunc {
	return func(network string, port int32) (net.Conn, error) {
		if address := addresses[port]; address != "" && network == "tcp4" {
			return net.Dial(network, address)
		}
		ip := net.IPv4(127, 0, 0, 1)
		if network == "tcp6" {
			ip = net.IPv6loopback
		}
		return nil, &net.OpError{Op: "dial", Net: network, Addr: &net.TCPAddr{IP: ip, Port: int(port)},
			Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
}

// runtime forwards as containerd 2 does.
type runtime struct{ dial dialFunc }

const (
	network = "host" // containerd's name for the pod's network namespace
	grace   = time.Second
)

// PortForward returns when the connection is over. The stream's end goes out
// before an error's text does.
func (r runtime) PortForward(_ context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	if err := r.forward(id, port, stream); err != nil {
		return fmt.Errorf("failed to execute portforward in network namespace %q: %w", network, err)
	}
	return nil
}

func (r runtime) forward(id string, port int32, stream io.ReadWriter) error {
	if id != sandbox {
		return fmt.Errorf("failed to find sandbox %q in store: not found", id)
	}
	pod, err4 := r.dial("tcp4", port)
	if err4 != nil {
		var err6 error
		if pod, err6 = r.dial("tcp6", port); err6 != nil {
			return fmt.Errorf("failed to connect to localhost:%d inside namespace %q, IPv4: %w IPv6 %w ", port, id, err4, err6)
		}
	}
	defer pod.Close()

	// Whichever way ends first, the other has the grace and no more. The pod's
	// sending side is never closed by itself.
	over := make(chan error, 2)
	transfer := func(to io.Writer, from io.Reader) {
		_, err := io.Copy(to, from) // by 32 KiB
		over <- err
	}
	go transfer(pod, stream)
	go transfer(stream, pod)
	err := <-over
	select {
	case second := <-over:
		if err == nil {
			err = second
		}
	case <-time.After(grace):
	}
	return err
}

func (runtime) Exec(context.Context, string, []string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.ErrUnsupported
}

func (runtime) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.ErrUnsupported
}
