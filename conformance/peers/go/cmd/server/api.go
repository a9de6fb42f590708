package main

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"build/peers/internal/forward"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/proxy"
	apiserverproxy "k8s.io/apiserver/pkg/util/proxy"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// authenticate lets in who has the token, and takes it off the request, since what
// is behind has no use for it.
func authenticate(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
			fail(w, apierrors.NewUnauthorized("Unauthorized"))
			return
		}
		r.Header.Del("Authorization")
		next.ServeHTTP(w, r)
	})
}

// api is as much of the API as it takes to find the pod and forward its ports.
type api struct {
	pod       *corev1.Pod
	streaming streaming.Server
	tunnel    bool
}

func newAPI(s streaming.Server, tunnel bool) http.Handler {
	a := &api{pod: newPod(), streaming: s, tunnel: tunnel}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api", a.versions)
	mux.HandleFunc("GET /apis", a.groups)
	mux.HandleFunc("GET /api/v1", a.resources)
	mux.HandleFunc("GET /api/v1/pods", a.list)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods", a.list)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods/{name}", a.get)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods/{name}/portforward", a.forward)
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/pods/{name}/portforward", a.forward)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, corev1.Resource(""), "", "", 0, true))
	})
	return mux
}

func (a *api) versions(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, &metav1.APIVersions{
		TypeMeta: metav1.TypeMeta{Kind: "APIVersions"},
		Versions: []string{"v1"},
	})
}

func (a *api) groups(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, &metav1.APIGroupList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"},
		Groups:   []metav1.APIGroup{},
	})
}

func (a *api) resources(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, &metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList"},
		GroupVersion: "v1",
		APIResources: []metav1.APIResource{
			{Name: "pods", SingularName: "pod", Namespaced: true, Kind: "Pod", Verbs: metav1.Verbs{"get", "list"}, ShortNames: []string{"po"}},
			{Name: "pods/portforward", Namespaced: true, Kind: "PodPortForwardOptions", Verbs: metav1.Verbs{"create", "get"}},
		},
	})
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	if a.has(w, r) {
		answer(w, http.StatusOK, a.pod)
	}
}

// has answers for pods that are not there.
func (a *api) has(w http.ResponseWriter, r *http.Request) bool {
	if r.PathValue("namespace") == a.pod.Namespace && r.PathValue("name") == a.pod.Name {
		return true
	}
	fail(w, apierrors.NewNotFound(corev1.Resource("pods"), r.PathValue("name")))
	return false
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if watch, _ := strconv.ParseBool(query.Get("watch")); watch {
		fail(w, apierrors.NewMethodNotSupported(corev1.Resource("pods"), "watch"))
		return
	}
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		fail(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	byField, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		fail(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	pods := &corev1.PodList{
		TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"},
		ListMeta: metav1.ListMeta{ResourceVersion: a.pod.ResourceVersion},
		Items:    []corev1.Pod{},
	}
	in := r.PathValue("namespace")
	podFields := fields.Set{
		"metadata.name":      a.pod.Name,
		"metadata.namespace": a.pod.Namespace,
		"spec.nodeName":      a.pod.Spec.NodeName,
		"status.phase":       string(a.pod.Status.Phase),
	}
	if (in == "" || in == a.pod.Namespace) && byLabel.Matches(labels.Set(a.pod.Labels)) && byField.Matches(podFields) {
		pods.Items = append(pods.Items, *a.pod)
	}
	answer(w, http.StatusOK, pods)
}

// forward does what the API server does with the request, kubelet between it and
// the runtime left out.
func (a *api) forward(w http.ResponseWriter, r *http.Request) {
	if !a.has(w, r) {
		return
	}
	var ports []int32
	if given := r.URL.Query()["ports"]; len(given) > 0 {
		if err := metav1.Convert_Slice_string_To_Slice_int32(&given, &ports, nil); err != nil {
			fail(w, apierrors.NewBadRequest(err.Error()))
			return
		}
	}
	tunnelled := a.tunnel && wsstream.IsWebSocketRequestWithTunnelingProtocol(r)
	if !tunnelled {
		// What the older WebSocket protocol forwards is in the query; kubelet
		// reads it there.
		read, err := portforward.NewV4Options(asKubeletGetsIt(r, ports))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, err.Error())
			return
		}
		ports = read.Ports
	}
	given, err := a.streaming.GetPortForward(&criapi.PortForwardRequest{PodSandboxId: forward.Sandbox, Port: ports})
	if err != nil {
		streaming.WriteError(err, w)
		return
	}
	location, err := url.Parse(given.Url)
	if err != nil {
		fail(w, err)
		return
	}
	var handler http.Handler = proxy.NewUpgradeAwareHandler(location, nil, false, true, proxy.NewErrorResponder(responder{w}))
	if tunnelled {
		handler = apiserverproxy.NewTunnelingHandler(handler)
	}
	handler.ServeHTTP(w, r)
}

func asKubeletGetsIt(r *http.Request, ports []int32) *http.Request {
	clone := r.Clone(r.Context())
	query := url.Values{}
	if len(ports) > 0 {
		list := make([]string, len(ports))
		for i, port := range ports {
			list[i] = strconv.Itoa(int(port))
		}
		query.Set(portforward.PortHeader, strings.Join(list, ","))
	}
	clone.URL.RawQuery = query.Encode()
	return clone
}

// responder is what the proxy reports to that could not reach the runtime.
type responder struct{ w http.ResponseWriter }

func (r responder) Error(err error) { fail(r.w, err) }

// fail answers with the Status of err.
func fail(w http.ResponseWriter, err error) {
	status := metav1.Status{Status: metav1.StatusFailure, Message: err.Error(), Code: http.StatusInternalServerError}
	if known := apierrors.APIStatus(nil); errors.As(err, &known) {
		status = known.Status()
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	answer(w, int(status.Code), &status)
}

func answer(w http.ResponseWriter, code int, object any) {
	body, err := json.Marshal(object)
	if err != nil {
		log.Print(err)
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(append(body, '\n'))
}
