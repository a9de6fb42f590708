// What Go's net/http makes of heads of HTTP/1.1, a line for each that it takes; see portforward/examples/heads.rs.
//
//	go run fuzz/heads.go DIRECTORY...
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

func main() {
	for _, directory := range os.Args[1:] {
		files, err := os.ReadDir(directory)
		if err != nil {
			log.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(filepath.Join(directory, file.Name()))
			if err != nil {
				log.Fatal(err)
			}
			if len(data) > 0 {
				data = data[1:]
			}
			if r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data))); err == nil {
				fmt.Printf("%s request %s %s%s\n", file.Name(), r.Method, r.RequestURI, shown(r.Header))
			}
			if r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil); err == nil {
				fmt.Printf("%s response %d%s\n", file.Name(), r.StatusCode, shown(r.Header))
			}
		}
	}
}

// Without what Go keeps elsewhere.
func shown(fields http.Header) string {
	elsewhere := map[string]bool{"host": true, "content-length": true, "transfer-encoding": true, "trailer": true, "connection": true}
	var all []string
	for name, values := range fields {
		name = strings.ToLower(name)
		if elsewhere[name] {
			continue
		}
		for _, value := range values {
			all = append(all, fmt.Sprintf(" %s=%x", name, value))
		}
	}
	sort.Strings(all)
	return strings.Join(all, "")
}
