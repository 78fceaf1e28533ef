package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

const (
	nodeName         = "node-0"
	storageClassName = "kwok-volume" // the name that the volume stages look for
)

// createObjects creates what a fresh cluster has: a node, and a default class for volumes.
func createObjects(ctx context.Context, client kubernetes.Interface, kubeletPort int) error {
	// The node is ready from its first moment. Logs are read from the port it names.
	plenty := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1k"), corev1.ResourceMemory: resource.MustParse("1Ti"),
		corev1.ResourcePods: resource.MustParse("100k"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{
			corev1.LabelHostname: nodeName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Status: corev1.NodeStatus{
			Capacity: plenty, Allocatable: plenty,
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
				Reason: "KubeletReady", Message: "kubelet is posting ready status",
			}},
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: nodeName},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(kubeletPort)}},
			NodeInfo: corev1.NodeSystemInfo{
				Architecture: "amd64", OperatingSystem: "linux", KubeletVersion: kubernetesVersion(),
			},
		},
	}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the node: %w", err)
	}
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        storageClassName,
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner: "kwok.x-k8s.io/volume",
	}
	if _, err := client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the storage class: %w", err)
	}
	return nil
}

// probe brings a Deployment up and takes it down again: server, controllers,
// scheduler, kwok and the garbage collector all have to do their part.
func probe(ctx context.Context, client kubernetes.Interface, parts *parts) error {
	const name = "probe"
	labels := map[string]string{"app": name}
	deployments, pods := client.AppsV1().Deployments("default"), client.CoreV1().Pods("default")
	deployment, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: name, Image: name}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	events, err := deployments.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, name).String(),
		ResourceVersion: deployment.ResourceVersion,
	})
	if err != nil {
		return err
	}
	if err := until(ctx, events, parts, "the probe's Deployment is available", func(event watch.Event) bool {
		deployment, ok := event.Object.(*appsv1.Deployment)
		return ok && deployment.Status.AvailableReplicas == 1
	}); err != nil {
		return err
	}

	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		return err
	}
	left := len(list.Items)
	events, err = pods.Watch(ctx, metav1.ListOptions{LabelSelector: "app=" + name, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	if err := deployments.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return until(ctx, events, parts, "the probe's pod is gone", func(event watch.Event) bool {
		if event.Type == watch.Deleted {
			left--
		}
		return left == 0
	})
}

// until watches until done says so.
func until(ctx context.Context, events watch.Interface, parts *parts, what string, done func(watch.Event) bool) error {
	defer events.Stop()
	for {
		select {
		case event, open := <-events.ResultChan():
			if !open {
				return fmt.Errorf("the watch ended before %s", what)
			}
			if done(event) {
				return nil
			}
		case end := <-parts.ends:
			return end
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
		}
	}
}
