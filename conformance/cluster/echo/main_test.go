package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// dial returns a connection to a service.
func dial(t *testing.T, name string) *net.TCPConn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		services[name](c.(*net.TCPConn))
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func expectSum(t *testing.T, c io.Reader, n int, want string) {
	t.Helper()
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != want {
		t.Errorf("SHA-256 %x, want %s", sum, want)
	}
}

func expectEnd(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.CloseWrite()
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("%d bytes more, error %v", len(rest), err)
	}
}

func TestSequence(t *testing.T) {
	b := make([]byte, 20)
	s := newSequence(20)
	s.Read(b[:3])
	s.Read(b[3:])
	if got := hex.EncodeToString(b); got != "edae3ace32400e2ed071ab4cdca27535e4f1710f" {
		t.Error(got)
	}
}

func TestRandom(t *testing.T) {
	c := dial(t, "random")
	const n = 1000003
	binary.Write(c, binary.BigEndian, uint64(n))
	expectSum(t, c, n, "e45ea276e941ceb1d3a33a5c6b14b5da60e960c1a8efd95ab79f51bfaf7f8e45")
	expectEnd(t, c)
}

func TestEarly(t *testing.T) {
	c := dial(t, "early")
	io.WriteString(c, "go\n")
	expectSum(t, c, 65536, "03b2278d0f879515356cdd3437ff9d47e97885f2a77157312bcbc473633257a6")
	expectEnd(t, c)
}

func TestHash(t *testing.T) {
	c := dial(t, "hash")
	binary.Write(c, binary.BigEndian, uint64(3))
	io.WriteString(c, "abc, and more than was announced")
	got, _ := io.ReadAll(c) // what was not read may turn the end into a reset
	if want := "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"; string(got) != want {
		t.Errorf("%q", got)
	}
}

func TestLate(t *testing.T) {
	c := dial(t, "late")
	io.WriteString(c, "100\nand more")
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || !err.(net.Error).Timeout() {
		t.Errorf("before the end: %d bytes, error %v", n, err)
	}
	c.SetReadDeadline(time.Time{})
	closed := time.Now()
	c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "late\n" || err != nil {
		t.Errorf("%q, error %v", got, err)
	}
	if took := time.Since(closed); took < 100*time.Millisecond {
		t.Errorf("after %v", took)
	}
	for _, wrong := range []string{"soon\n", "\n", "", "5"} {
		c := dial(t, "late")
		io.WriteString(c, wrong)
		expectEnd(t, c)
	}
}

// TestInput runs the program itself: what it writes behind the end of its input, and not before.
func TestInput(t *testing.T) {
	if os.Getenv("ECHO_INPUT") != "" {
		os.Args = []string{"echo", "input"}
		main()
		os.Exit(0)
	}
	program := exec.Command(os.Args[0], "-test.run=^TestInput$")
	program.Env = append(os.Environ(), "ECHO_INPUT=1")
	in, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	const line = "to the end\n"
	first := make(chan int, 1)
	got := make([]byte, len(line))
	go func() {
		n, _ := out.Read(got)
		first <- n
	}()
	io.WriteString(in, line)
	select {
	case n := <-first:
		t.Fatalf("%q, or the end, before the end of the input", got[:n])
	case <-time.After(100 * time.Millisecond):
	}
	in.Close()
	n := <-first
	rest, err := io.ReadAll(out)
	if all := string(got[:n]) + string(rest); all != line || err != nil {
		t.Errorf("%q, %v", all, err)
	}
	if err := program.Wait(); err != nil {
		t.Error(err)
	}
}
