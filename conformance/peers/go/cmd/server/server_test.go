package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"build/peers/internal/demo"
	"build/peers/internal/forward"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// serve starts a server and reads back the kubeconfig it writes.
func serve(t *testing.T, tunnel bool) *rest.Config {
	addresses, err := demo.Start()
	if err != nil {
		t.Fatal(err)
	}
	s, err := start("127.0.0.1:0", forward.Pod(addresses), tunnel)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.writeKubeconfig(file); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func dialers(t *testing.T, config *rest.Config) (direct, tunnel httpstream.Dialer) {
	location := kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient().Post().
		Namespace("default").Resource("pods").Name("peer").SubResource("portforward").URL()
	roundTripper, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err = portforward.NewSPDYOverWebsocketDialerForStreaming(location, config)
	if err != nil {
		t.Fatal(err)
	}
	return spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, location), tunnel
}

func TestForward(t *testing.T) {
	direct, tunnel := dialers(t, serve(t, true))
	for name, dialer := range map[string]httpstream.Dialer{"spdy": direct, "tunnel": tunnel} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ready, over := make(chan struct{}), make(chan error, 1)
			forwarder, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer,
				[]string{"127.0.0.1"}, []string{":7000"}, ready, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			go func() { over <- forwarder.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-over:
				t.Fatal(err)
			}
			ports, err := forwarder.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, "127.0.0.1:"+strconv.Itoa(int(ports[0].Local)))
			cancel()
			if err := <-over; err != nil {
				t.Error(err)
			}
		})
	}
}

func roundTrip(t *testing.T, address string) {
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go conn.Write(sent)
	got := make([]byte, len(sent))
	if n, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// Without the tunnel the request meets what asks for the older protocol's ports,
// and the client has reason to fall back.
func TestNoTunnel(t *testing.T) {
	_, tunnel := dialers(t, serve(t, false))
	_, _, err := tunnel.Dial(portforward.PortForwardProtocolV1Name)
	if !httpstream.IsUpgradeFailure(err) || !strings.Contains(err.Error(), `query parameter "port" is required`) {
		t.Error(err)
	}
}

// The older WebSocket protocol: port i has the channels 2i and 2i+1, both of which
// begin with its number.
func TestChannels(t *testing.T) {
	config := serve(t, true)
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	dialer := websocket.Dialer{TLSClientConfig: tlsConfig, Subprotocols: []string{"v4.channel.k8s.io"}}
	location := strings.Replace(config.Host, "https", "wss", 1) + "/api/v1/namespaces/default/pods/peer/portforward"
	header := http.Header{"Authorization": {"Bearer " + config.BearerToken}}

	for query, wanted := range map[string]string{
		"":                  `query parameter "port" is required`,
		"?ports=80&ports=0": `port "80,0" must be > 0`,
		"?ports=x":          "cannot convert to []int32",
	} {
		_, answer, err := dialer.Dial(location+query, header)
		if err == nil || answer == nil {
			t.Fatalf("%s: %v", query, err)
		}
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), wanted) {
			t.Errorf("%s: %s, %s", query, answer.Status, body)
		}
	}

	conn, _, err := dialer.Dial(location+"?ports=7000&ports=7999", header)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if err := conn.WriteMessage(websocket.BinaryMessage, []byte("\x00hello")); err != nil {
		t.Fatal(err)
	}
	got := map[byte]string{}
	for got[0] != "\x58\x1bhello" || !strings.Contains(got[3], "failed to connect to localhost:7999") {
		_, message, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		got[message[0]] += string(message[1:])
	}
	if got[1] != "\x58\x1b" || got[2] != "\x3f\x1f" {
		t.Errorf("%q", got)
	}
}

func TestREST(t *testing.T) {
	config := serve(t, true)
	client := kubernetes.NewForConfigOrDie(config)
	pods := client.CoreV1().Pods("default")
	if pod, err := pods.Get(t.Context(), "peer", metav1.GetOptions{}); err != nil || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("%v, %v", pod, err)
	}
	if _, err := pods.Get(t.Context(), "other", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	for selector, wanted := range map[string]int{"": 1, "app=peer": 1, "app=other": 0} {
		if list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: selector}); err != nil || len(list.Items) != wanted {
			t.Errorf("%q: %v, %v", selector, list, err)
		}
	}
	// Not an upgrade.
	err := client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("peer").SubResource("portforward").Do(t.Context()).Error()
	if !apierrors.IsBadRequest(err) || err.Error() != "Upgrade request required" {
		t.Error(err)
	}
	other := rest.CopyConfig(config)
	other.BearerToken = "no"
	_, err = kubernetes.NewForConfigOrDie(other).CoreV1().Pods("default").Get(t.Context(), "peer", metav1.GetOptions{})
	if !apierrors.IsUnauthorized(err) {
		t.Error(err)
	}
	direct, _ := dialers(t, other)
	if _, _, err := direct.Dial(portforward.PortForwardProtocolV1Name); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
		t.Error(err)
	}
}

func TestLoopbackOnly(t *testing.T) {
	if _, err := start("0.0.0.0:0", forward.Host, true); err == nil {
		t.Error(err)
	}
}
