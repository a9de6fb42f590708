// Command client forwards ports of one pod with client-go's port forwarder, put
// together the way kubectl puts it together.
//
//	client -kubeconfig F -n NS -transport spdy|tunnel|fallback POD LOCAL:REMOTE...
//
// What it prints about the forwards is client-go's own. SIGINT ends it with 0; a
// session that is lost, or one that never came to be, ends it with 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

type options struct {
	kubeconfig, namespace, transport, address string
	pod                                       string
	ports                                     []string
}

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that names the API server and the user")
	flag.StringVar(&o.namespace, "n", "", "the pod's `namespace` (unless given, the kubeconfig's)")
	flag.StringVar(&o.transport, "transport", "fallback", "`how`: spdy, tunnel (SPDY over WebSocket), or fallback (tunnel, then spdy), as kubectl does")
	flag.StringVar(&o.address, "address", "localhost", "`addresses` to listen on, separated by commas")
	klogFlags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(klogFlags)
	flag.Var(klogFlags.Lookup("v").Value, "v", "`level` of detail of client-go's log")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: client [flags] POD [LOCAL:]REMOTE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	o.pod, o.ports = flag.Arg(0), flag.Args()[1:]
	if err := forward(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func forward(ctx context.Context, o options) error {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: o.kubeconfig}, &clientcmd.ConfigOverrides{})
	config, err := loader.ClientConfig()
	if err != nil {
		return err
	}
	if o.namespace == "" {
		if o.namespace, _, err = loader.Namespace(); err != nil {
			return err
		}
	}
	api, err := coreClient(config)
	if err != nil {
		return err
	}
	var pod corev1.Pod
	if err := api.Get().Namespace(o.namespace).Resource("pods").Name(o.pod).Do(ctx).Into(&pod); err != nil {
		return err
	}
	if pod.Status.Phase != corev1.PodRunning {
		return fmt.Errorf("pod %s is not running but %s", pod.Name, pod.Status.Phase)
	}
	location := api.Post().Namespace(o.namespace).Resource("pods").Name(pod.Name).SubResource("portforward").URL()
	dialer, err := newDialer(o.transport, location, config)
	if err != nil {
		return err
	}

	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	stop := make(chan struct{})
	go func() {
		<-interrupt
		close(stop)
	}()
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, strings.Split(o.address, ","), o.ports,
		stop, make(chan struct{}), os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	return forwarder.ForwardPorts()
}

// coreClient is a client of the core API alone: kubectl's knows every API, which
// makes no difference to one pod.
func coreClient(config *rest.Config) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(config)
}

func newDialer(transport string, location *url.URL, config *rest.Config) (httpstream.Dialer, error) {
	roundTripper, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	direct := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, location)
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(location, config)
	if err != nil {
		return nil, err
	}
	switch transport {
	case "spdy":
		return direct, nil
	case "tunnel":
		return tunnel, nil
	case "fallback":
		return portforward.NewFallbackDialerForStreaming(tunnel, direct, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
		}), nil
	}
	return nil, fmt.Errorf("no transport named %q", transport)
}
