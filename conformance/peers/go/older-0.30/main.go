// Command older-0.30 is one pod behind the streaming server that container runtimes
// were built with in the days of Kubernetes 1.30: the package of k8s.io/kubelet, with
// spdystream 0.2.0.
//
//	older-0.30 [-listen 127.0.0.1:0]
//
// The pod has the services of server's -demo. It prints its URL once it serves. A
// runtime gives out a URL with a token for each connection; here each request to
// /portforward is given one, with the ports that its query names, and goes on with
// it. Nothing else of the request is looked at before the streaming server has it.
// SIGINT or SIGTERM ends it with 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"build/peers/internal/demo"
	"build/peers/internal/forward"

	"k8s.io/client-go/tools/remotecommand"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubelet/pkg/cri/streaming"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("older-0.30: ")
	listen := flag.String("listen", "127.0.0.1:0", "loopback `address` to serve at")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	l, err := listenOnLoopback(*listen)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := newHandler(l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(l, handler)) }()
	fmt.Printf("http://%s/portforward\n", l.Addr())
	<-stop
}

// listenOnLoopback listens nowhere else: nobody is asked who they are.
func listenOnLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address", address)
	}
	return net.Listen("tcp", address)
}

// newHandler starts the pod and puts the streaming server, with its defaults, before it.
func newHandler(address string) (http.Handler, error) {
	addresses, err := demo.Start()
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: address}
	server, err := streaming.NewServer(config, runtime{forward.Runtime{Dial: forward.Pod(addresses)}})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/portforward" {
			http.NotFound(w, r)
			return
		}
		ports, err := portsOf(r.URL.Query()["port"])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		given, err := server.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: forward.Sandbox, Port: ports})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		to, err := url.Parse(given.Url)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		r.URL.Path, r.URL.RawPath = to.Path, ""
		server.ServeHTTP(w, r)
	}), nil
}

// portsOf reads lists of ports, as a kubelet does before it asks the runtime.
func portsOf(lists []string) ([]int32, error) {
	var ports []int32
	for _, list := range lists {
		for _, text := range strings.Split(list, ",") {
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil || port == 0 {
				return nil, fmt.Errorf("invalid port %q", text)
			}
			ports = append(ports, int32(port))
		}
	}
	return ports, nil
}

// runtime is the container runtime: it forwards, and nothing else.
type runtime struct{ forward.Runtime }

func (runtime) Exec(context.Context, string, []string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.ErrUnsupported
}

func (runtime) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.ErrUnsupported
}
