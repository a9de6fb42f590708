package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// stream is a data stream: what the client sent, what it got, whether it was ended.
type stream struct {
	io.Reader
	io.Writer
	ended bool
}

func (s *stream) Close() error {
	s.ended = true
	return nil
}

func TestRefused(t *testing.T) {
	s := &stream{}
	err := Runtime{Pod(nil)}.PortForward(t.Context(), Sandbox, 80, s)
	wanted := fmt.Sprintf(`failed to execute portforward in network namespace "host": `+
		`failed to connect to localhost:80 inside namespace %q, IPv4: dial tcp4 127.0.0.1:80: connect: connection refused `+
		`IPv6 dial tcp6 [::1]:80: connect: connection refused `, Sandbox)
	if err == nil || err.Error() != wanted {
		t.Errorf("got    %v\nwanted %s", err, wanted)
	}
	if !s.ended {
		t.Error("the stream was not ended")
	}
}

func TestUnknownSandbox(t *testing.T) {
	err := Runtime{Pod(nil)}.PortForward(t.Context(), "x", 80, &stream{})
	if wanted := `failed to execute portforward in network namespace "host": failed to find sandbox "x" in store: not found`; err == nil || err.Error() != wanted {
		t.Errorf("got %v", err)
	}
}

func TestIPv6IsSecond(t *testing.T) {
	var order []string
	pod, far := net.Pipe()
	far.Close()
	dial := func(network string, _ int32) (net.Conn, error) {
		order = append(order, network)
		if network == "tcp4" {
			return nil, errors.New("no")
		}
		return pod, nil
	}
	if err := (Runtime{dial}).PortForward(t.Context(), Sandbox, 80, &stream{Reader: &bytes.Buffer{}, Writer: io.Discard}); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(order); got != "[tcp4 tcp6]" {
		t.Error(got)
	}
}

// After the client's end the pod has a second: what it says before that arrives,
// and then its connection is closed.
func TestGrace(t *testing.T) {
	for _, c := range []struct {
		after  time.Duration
		wanted string
	}{
		{time.Second - 1, "late"},
		{time.Second + 1, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			pod, far := net.Pipe()
			var got bytes.Buffer
			began := time.Now()
			go func() {
				time.Sleep(c.after)
				io.WriteString(far, "late")
			}()
			s := &stream{Reader: &bytes.Buffer{}, Writer: &got}
			err := Runtime{func(string, int32) (net.Conn, error) { return pod, nil }}.PortForward(t.Context(), Sandbox, 80, s)
			if took := time.Since(began); took != time.Second {
				t.Errorf("took %v", took)
			}
			if _, err := far.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the pod read %v", err)
			}
			time.Sleep(time.Second) // for the pod that is too late
			synctest.Wait()
			if err != nil || got.String() != c.wanted || !s.ended {
				t.Errorf("pod that speaks after %v: got %q, %v, ended %v", c.after, got.String(), err, s.ended)
			}
		})
	}
}

// failing ends the one way it is used for with an error, after a time.
type failing struct {
	net.Conn
	after time.Duration
	with  error
}

func (f failing) Read([]byte) (int, error) {
	time.Sleep(f.after)
	return 0, f.with
}

func TestWhichErrorCounts(t *testing.T) {
	fromPod, fromClient := errors.New("from pod"), errors.New("from client")
	for _, c := range []struct {
		pod, client, wanted error
	}{
		{nil, nil, nil},
		{fromPod, nil, fromPod},
		{nil, fromClient, fromClient}, // the pod's end comes first, and is clean
		{fromPod, fromClient, fromPod},
	} {
		synctest.Test(t, func(t *testing.T) {
			end := func(err error) error {
				if err == nil {
					return io.EOF
				}
				return err
			}
			near, _ := net.Pipe()
			pod := failing{near, time.Second / 4, end(c.pod)}
			s := &stream{Reader: failing{nil, time.Second / 2, end(c.client)}, Writer: io.Discard}
			err := Runtime{func(string, int32) (net.Conn, error) { return pod, nil }}.PortForward(t.Context(), Sandbox, 80, s)
			if !errors.Is(err, c.wanted) {
				t.Errorf("pod %v, client %v: got %v", c.pod, c.client, err)
			}
		})
	}
}
