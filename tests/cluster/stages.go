package main

import (
	"bytes"
	_ "embed"
	"strconv"
	"text/template"
)

// Annotations of a pod that say how it is to fare.
const (
	annotationPrefix       = "testbed.helm-guard.dev/"
	annotationLogs         = annotationPrefix + "logs"
	annotationPreviousLogs = annotationPrefix + "previous-logs"
)

// A fault is a state that a pod with the annotation "behavior" reaches and stays in.
// What it shows is what a kubelet shows.
type fault struct {
	Behavior string
	Init     bool   // the first init container is meant, not the containers
	Phase    string // "Pending" or "Running"
	Reason   string // why a container waits; empty: it runs and is not ready
	Message  string
	Restarts int
	// How the container ended before; empty: it never started.
	LastReason  string
	LastExit    int
	LastMessage string
	// The event that goes with it; none without a reason.
	Event, EventMessage string
}

var faults = []fault{
	{
		Behavior: "never-ready", Phase: "Running",
		Event: "Unhealthy", EventMessage: "Readiness probe failed: HTTP probe failed with statuscode: 503",
	},
	{
		Behavior: "crash-loop", Phase: "Running", Reason: "CrashLoopBackOff",
		Message:  "back-off 1m20s restarting failed container",
		Restarts: 4, LastReason: "Error", LastExit: 1,
		Event: "BackOff", EventMessage: "Back-off restarting failed container",
	},
	{
		Behavior: "oom", Phase: "Running", Reason: "CrashLoopBackOff",
		Message:  "back-off 1m20s restarting failed container",
		Restarts: 4, LastReason: "OOMKilled", LastExit: 137,
		Event: "BackOff", EventMessage: "Back-off restarting failed container",
	},
	{
		Behavior: "start-error", Phase: "Running", Reason: "CrashLoopBackOff",
		Message:  "back-off 1m20s restarting failed container",
		Restarts: 4, LastReason: "StartError", LastExit: 128, LastMessage: noSuchProgram,
		Event: "Failed", EventMessage: "Error: " + noSuchProgram,
	},
	{
		Behavior: "init-crash-loop", Init: true, Phase: "Pending", Reason: "CrashLoopBackOff",
		Message:  "back-off 1m20s restarting failed container",
		Restarts: 4, LastReason: "Error", LastExit: 1,
		Event: "BackOff", EventMessage: "Back-off restarting failed container",
	},
	{
		Behavior: "init-stuck", Init: true, Phase: "Pending", // it runs and does not end
	},
	{
		Behavior: "liveness", Phase: "Running", Reason: "CrashLoopBackOff",
		Message:  "back-off 1m20s restarting failed container",
		Restarts: 4, LastReason: "Error", LastExit: 137,
		Event: "Unhealthy", EventMessage: `Liveness probe failed: Get "http://10.0.0.1:8080/healthz": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
	},
	{
		Behavior: "startup", Phase: "Running",
		Event: "Unhealthy", EventMessage: "Startup probe failed: dial tcp 10.0.0.1:8080: connect: connection refused",
	},
	{
		Behavior: "config-error", Phase: "Pending", Reason: "CreateContainerConfigError",
		Message: `secret "missing" not found`,
		Event:   "Failed", EventMessage: `Error: secret "missing" not found`,
	},
	{
		Behavior: "image-error", Phase: "Pending", Reason: "ImagePullBackOff",
		Message: `Back-off pulling image: ErrImagePull: not found`,
		Event:   "Failed", EventMessage: "Error: ImagePullBackOff",
	},
	{
		Behavior: "image-pull-error", Phase: "Pending", Reason: "ErrImagePull",
		Message: `failed to pull and unpack image: not found`,
		Event:   "Failed", EventMessage: "Error: ErrImagePull",
	},
	{
		Behavior: "stuck-creating", Phase: "Pending", Reason: "ContainerCreating",
		Event: "FailedMount", EventMessage: `MountVolume.SetUp failed for volume "data" : timed out waiting for the condition`,
	},
}

// noSuchProgram is what containerd and runc say of a command that is not in the image.
const noSuchProgram = `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: ` +
	`unable to start container process: error during container init: exec: "serve": executable file not found in $PATH`

// lowOnMemory is what a kubelet says of a pod that it ends because its node runs short (eviction/helpers.go).
const lowOnMemory = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80468Ki. " +
	"Container app was using 912Mi, request is 0, has larger consumption of memory. "

// An end is how a pod ends that is not to be restarted.
type end struct {
	Name, Behavior, Phase, PodReason, Reason string
	Exit                                     int
}

//go:embed stages.yaml.tmpl
var stagesTemplate string

// stagesYAML is kwok's configuration. kwok's own templates keep their braces, ours have brackets.
func stagesYAML() ([]byte, error) {
	stages, err := template.New("stages").Delims("[[", "]]").Funcs(template.FuncMap{
		"annotation": func(name string) string { return annotationPrefix + name },
		"quote":      strconv.Quote,
	}).Parse(stagesTemplate)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = stages.Execute(&text, map[string]any{
		"Faults": faults, "StorageClass": storageClassName, "LowOnMemory": lowOnMemory,
		"Complete": end{"complete", "ready", "Succeeded", "PodCompleted", "Completed", 0},
		"Fail":     end{"fail", "fail", "Failed", "PodFailed", "Error", 1},
	})
	return text.Bytes(), err
}
