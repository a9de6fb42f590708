package demo

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// counts are what a container's TCP services have seen.
type counts struct {
	mu    sync.Mutex
	seen  seen
	limit int // of seen.Latest
}

// seen is what /stats answers with.
type seen struct {
	Open   map[string]int `json:"open"`
	Total  map[string]int `json:"total"`
	Latest []connection   `json:"latest"`
	Sunk   int64          `json:"sunk"` // bytes that sink has read so far
}

var sunkBytes atomic.Int64

type connection struct {
	Service        string
	Received, Sent int64
	Error          string
	Seconds        float64
}

func newCounts() *counts {
	return &counts{seen: seen{Open: map[string]int{}, Total: map[string]int{}}, limit: 50}
}

func (c *counts) opened(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.Open[service]++
	c.seen.Total[service]++
}

func (c *counts) closed(service string, received, sent int64, err error, took time.Duration) {
	ended := connection{Service: service, Received: received, Sent: sent, Seconds: took.Seconds()}
	if err != nil {
		ended.Error = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.Open[service]--
	c.seen.Latest = append(c.seen.Latest, ended)
	c.seen.Latest = c.seen.Latest[max(0, len(c.seen.Latest)-c.limit):]
}

func (c *counts) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	c.seen.Sunk = sunkBytes.Load()
	answer, err := json.MarshalIndent(c.seen, "", "  ")
	c.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(append(answer, '\n'))
}
