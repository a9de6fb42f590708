// Command server is one pod, named peer, behind Kubernetes' own port-forward code:
// the streaming server of the container runtimes, reached through the API server's
// upgrade proxy and WebSocket tunnel.
//
//	server -listen 127.0.0.1:0 -kubeconfig-out F [-demo] [-tunnel=false]
//
// It prints "ready" once it serves and F is written. SIGINT or SIGTERM ends it
// with 0.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"build/peers/internal/demo"
	"build/peers/internal/forward"

	"k8s.io/klog/v2"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("server: ")
	listen := flag.String("listen", "127.0.0.1:0", "loopback `address` to serve the API at")
	kubeconfig := flag.String("kubeconfig-out", "", "`file` to write, for clients: address, CA, bearer token")
	demoPod := flag.Bool("demo", false, "the pod has the test cluster's services, and nothing else; without it the pod's ports are this host's")
	tunnel := flag.Bool("tunnel", true, "take SPDY over WebSocket, as API servers do since 1.30; without it a client has to fall back")
	klogFlags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(klogFlags)
	flag.Var(klogFlags.Lookup("v").Value, "v", "`level` of detail of the Kubernetes code's log")
	flag.Parse()
	if *kubeconfig == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)

	dial := forward.Host
	if *demoPod {
		addresses, err := demo.Start()
		if err != nil {
			log.Fatal(err)
		}
		dial = forward.Pod(addresses)
	}
	server, err := start(*listen, dial, *tunnel)
	if err != nil {
		log.Fatal(err)
	}
	if err := server.writeKubeconfig(*kubeconfig); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	<-stop
}

// server is what clients have to know of one that serves.
type server struct {
	address string // of the API
	ca      []byte // PEM
	token   string // that lets a client in
}

// start serves from now on: the streaming server at an address of its own, as a
// runtime does, and the API before it. Both end with the process.
func start(listen string, dial forward.Dial, tunnel bool) (*server, error) {
	if err := loopbackOnly(listen); err != nil {
		return nil, err
	}
	streaming, err := serveStreaming(dial)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	ca, certificate, err := newCertificate(l.Addr().(*net.TCPAddr).IP)
	if err != nil {
		return nil, err
	}
	s := &server{address: l.Addr().String(), ca: ca, token: randomHex(16)}
	https := &http.Server{
		Handler:   authenticate(s.token, newAPI(streaming, tunnel)),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	go func() { log.Fatal(https.ServeTLS(l, "", "")) }()
	return s, nil
}

// loopbackOnly refuses to give others this host's ports.
func loopbackOnly(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address", listen)
	}
	return nil
}
