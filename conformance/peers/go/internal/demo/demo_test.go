package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// Both values are the cluster's README's.
func TestSequence(t *testing.T) {
	b := make([]byte, 20)
	newSequence(20).Read(b)
	if got := hex.EncodeToString(b); got != "edae3ace32400e2ed071ab4cdca27535e4f1710f" {
		t.Errorf("sequence 20 begins with %s", got)
	}
	sum := sha256.New()
	io.CopyN(sum, newSequence(65536), 65536)
	if got := hex.EncodeToString(sum.Sum(nil)); got != "03b2278d0f879515356cdd3437ff9d47e97885f2a77157312bcbc473633257a6" {
		t.Errorf("sequence 65536 has the hash %s", got)
	}
}

func TestServices(t *testing.T) {
	addresses, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		port           int32
		send, wanted   string
		halfClose, rst bool
	}{
		{port: 7000, send: "abc", wanted: "abc", halfClose: true},
		{port: 7001, send: "abc", halfClose: true},
		{port: 7003, rst: true},
		{port: 7004, wanted: "banner\n"},
		{port: 7005, send: "\x00\x00\x00\x00\x00\x00\x00\x03abc", wanted: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"},
		{port: 7006, send: "\x00\x00\x00\x00\x00\x00\x00\x02", wanted: "\x3a\xba", halfClose: true},
		{port: 7008, send: "20\nabc", wanted: "late\n", halfClose: true},
		{port: 7008, send: "soon\n", halfClose: true},
	} {
		conn, err := net.Dial("tcp4", addresses[c.port])
		if err != nil {
			if !c.rst { // or it comes before connect has returned
				t.Error(err)
			}
			continue
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, c.send)
		if c.halfClose {
			conn.(*net.TCPConn).CloseWrite()
		}
		got, err := io.ReadAll(conn)
		if string(got) != c.wanted || (err != nil) != c.rst {
			t.Errorf("%d: got %q, %v", c.port, got, err)
		}
	}
	if addresses[7999] != "" {
		t.Error("7999 is served")
	}
	neverReads, err := net.Dial("tcp4", addresses[7009])
	if err != nil {
		t.Fatal(err)
	}
	defer neverReads.Close()
	neverReads.SetDeadline(time.Now().Add(500 * time.Millisecond))
	chunk := make([]byte, 1<<20)
	for err == nil {
		_, err = neverReads.Write(chunk)
	}
	if !os.IsTimeout(err) {
		t.Errorf("7009: %v", err)
	}
	answer, err := http.Get("http://" + addresses[8081] + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	stats, _ := io.ReadAll(answer.Body)
	if !strings.Contains(string(stats), `"hash": 1`) {
		t.Errorf("stats: %s", stats)
	}
}
