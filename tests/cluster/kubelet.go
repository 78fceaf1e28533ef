package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// serveKubelet serves the one thing that the API server asks of a kubelet here:
// the logs of a container. They are what the pod's annotations say.
func serveKubelet(keys *keys, client kubernetes.Interface) (port int, err error) {
	config, err := keys.tls()
	if err != nil {
		return 0, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		if err := writeLogs(w, r, client); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(tls.NewListener(listener, config)) }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// writeLogs answers a request for logs; an error means that nothing was written yet.
func writeLogs(w http.ResponseWriter, r *http.Request, client kubernetes.Interface) error {
	pods := client.CoreV1().Pods(r.PathValue("namespace"))
	pod, err := pods.Get(r.Context(), r.PathValue("pod"), metav1.GetOptions{})
	if err != nil {
		return err
	}
	container, query := r.PathValue("container"), r.URL.Query()
	previous := query.Get("previous") == "true"
	if err := logsAvailable(pod, container, previous); err != nil {
		return err
	}
	text := logText(pod, container, previous)
	if query.Get("timestamps") == "true" {
		text = withTimestamps(text, pod.CreationTimestamp.Time)
	}
	if n, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		lines := strings.SplitAfter(text, "\n")
		text = strings.Join(lines[max(0, len(lines)-1-n):], "")
	}
	if n, err := strconv.Atoi(query.Get("limitBytes")); err == nil {
		text = text[:min(len(text), n)]
	}
	if _, err := io.Copy(w, bytes.NewBufferString(text)); err != nil {
		return nil // the client has left
	}
	if query.Get("follow") == "true" {
		_ = http.NewResponseController(w).Flush()
		follow(r.Context(), w, client, pod, container)
	}
	return nil
}

// logText is what the annotations say, or one line that tells whose log it is.
func logText(pod *corev1.Pod, container string, previous bool) string {
	names := []string{annotationLogs + "." + container, annotationLogs}
	if previous {
		names = slices.Concat([]string{annotationPreviousLogs + "." + container, annotationPreviousLogs}, names)
	}
	text := container + ": started"
	for _, name := range names {
		if of, found := pod.Annotations[name]; found {
			text = of
			break
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

func withTimestamps(text string, from time.Time) string {
	var stamped strings.Builder
	for i, line := range slices.Collect(strings.Lines(text)) {
		fmt.Fprintf(&stamped, "%s %s", from.Add(time.Duration(i)*time.Millisecond).Format(time.RFC3339Nano), line)
	}
	return stamped.String()
}

// logsAvailable refuses when a kubelet would, in its words (kubelet_pods.go, validateContainerLogStatus).
func logsAvailable(pod *corev1.Pod, container string, previous bool) error {
	statuses := slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses)
	i := slices.IndexFunc(statuses, func(status corev1.ContainerStatus) bool { return status.Name == container })
	if i < 0 {
		return fmt.Errorf("container %q in pod %q is not available", container, pod.Name)
	}
	state, last := statuses[i].State, statuses[i].LastTerminationState.Terminated
	switch {
	case previous && last == nil:
		return fmt.Errorf("previous terminated container %q in pod %q not found", container, pod.Name)
	case previous || last != nil || state.Running != nil || state.Terminated != nil:
		return nil
	case state.Waiting == nil:
		return fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", container, pod.Name)
	}
	reason := state.Waiting.Reason
	switch reason {
	case "ErrImagePull":
		reason = "image can't be pulled"
	case "ImagePullBackOff":
		reason = "trying and failing to pull image"
	}
	return fmt.Errorf("container %q in pod %q is waiting to start: %s", container, pod.Name, reason)
}

// follow writes what the annotations gain. It returns when the pod has ended, or the client has gone.
func follow(ctx context.Context, w http.ResponseWriter, client kubernetes.Interface, pod *corev1.Pod, container string) {
	written := logText(pod, container, false)
	ended := func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	}
	if ended(pod) {
		return
	}
	events, err := client.CoreV1().Pods(pod.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, pod.Name).String(),
		ResourceVersion: pod.ResourceVersion,
	})
	if err != nil {
		return
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return
		}
		if text := logText(pod, container, false); len(text) > len(written) && strings.HasPrefix(text, written) {
			if _, err := io.WriteString(w, text[len(written):]); err != nil {
				return // the client has left
			}
			_ = http.NewResponseController(w).Flush()
			written = text
		}
		if event.Type == "DELETED" || ended(pod) {
			return
		}
	}
}
