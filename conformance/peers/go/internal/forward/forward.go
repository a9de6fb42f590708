// Package forward is the forward to the pod's port, after containerd's.
package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Sandbox is the pod's, to the runtime.
var Sandbox = func() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}()

// Dial connects to a port on the pod's localhost; network is tcp4 or tcp6.
type Dial func(network string, port int32) (net.Conn, error)

// Host is of a pod in the host's network.
func Host(network string, port int32) (net.Conn, error) {
	return net.Dial(network, fmt.Sprintf("localhost:%d", port))
}

// Pod is of a pod that listens, over IPv4, at the ports that addresses has.
func Pod(addresses map[int32]string) Dial {
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

// Runtime forwards as containerd 2 does.
type Runtime struct{ Dial Dial }

const (
	network = "host" // containerd's name for the pod's network namespace
	grace   = time.Second
)

// PortForward returns when the connection is over. The stream's end goes out
// before an error's text does.
func (r Runtime) PortForward(_ context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	if err := r.forward(id, port, stream); err != nil {
		return fmt.Errorf("failed to execute portforward in network namespace %q: %w", network, err)
	}
	return nil
}

func (r Runtime) forward(id string, port int32, stream io.ReadWriter) error {
	if id != Sandbox {
		return fmt.Errorf("failed to find sandbox %q in store: not found", id)
	}
	pod, err4 := r.Dial("tcp4", port)
	if err4 != nil {
		var err6 error
		if pod, err6 = r.Dial("tcp6", port); err6 != nil {
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
