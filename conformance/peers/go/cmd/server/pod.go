package main

import (
	"time"

	"build/peers/internal/demo"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const namespace = "default"

// newPod is the one pod there is: running, ready, and declaring the demo's ports.
func newPod() *corev1.Pod {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	container := corev1.Container{Name: "demo", Image: "demo"}
	for _, port := range demo.Ports {
		container.Ports = append(container.Ports,
			corev1.ContainerPort{Name: port.Name, ContainerPort: port.Number, Protocol: corev1.ProtocolTCP})
	}
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name:              "peer",
			Namespace:         namespace,
			UID:               "00000000-0000-4000-8000-000000000001",
			ResourceVersion:   "1",
			CreationTimestamp: now,
			Labels:            map[string]string{"app": "peer"},
		},
		Spec: corev1.PodSpec{
			NodeName:      "peer",
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{container},
		},
		Status: corev1.PodStatus{
			Phase:     corev1.PodRunning,
			HostIP:    "127.0.0.1",
			PodIP:     "127.0.0.1",
			PodIPs:    []corev1.PodIP{{IP: "127.0.0.1"}},
			StartTime: &now,
			ContainerStatuses: []corev1.ContainerStatus{{
				Name:  container.Name,
				Image: container.Image,
				Ready: true,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
			}},
		},
	}
	for _, kind := range []corev1.PodConditionType{
		corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
	} {
		pod.Status.Conditions = append(pod.Status.Conditions,
			corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	return pod
}
