package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

// Users with every right. Each part has a name of its own, for the audit log's sake.
const (
	adminUser      = "admin"
	controllerUser = "system:kube-controller-manager"
	schedulerUser  = "system:kube-scheduler"
	kwokUser       = "system:kwok"
	testbedUser    = "system:testbed"
)

// unprivilegedUsers is how many users there are without any right of their own: user-0, user-1 and so on.
const unprivilegedUsers = 16

// idleControllers do work that nothing here can see, or that is kwok's.
var idleControllers = []string{
	"bootstrap-signer-controller", "token-cleaner-controller", "ttl-controller",
	// A machine that stalls for a minute is no reason to evict every pod.
	"node-lifecycle-controller", "node-ipam-controller",
	"persistentvolume-attach-detach-controller",
	"certificatesigningrequest-signing-controller", "certificatesigningrequest-approving-controller",
	"certificatesigningrequest-cleaner-controller", "kube-apiserver-serving-clustertrustbundle-publisher-controller",
}

type cluster struct {
	root   string
	server string
	port   int
	keys   *keys
	tokens map[string]string
}

func (c *cluster) auditLog() string { return filepath.Join(c.root, "audit.log") }

func kubernetesVersion() string { return version.Get().GitVersion }

// start brings every part up and returns once a Deployment of one pod has come and gone.
func start(ctx context.Context, root string, parts *parts) (*cluster, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready after %s", startLimit))
	defer cancel()

	port, err := reservePort()
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	c := &cluster{root: root, port: port, server: fmt.Sprintf("https://127.0.0.1:%d", port)}
	if err := c.writeFiles(); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig(testbedUser))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 1000, 1000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	kubeletPort, err := serveKubelet(c.keys, client)
	if err != nil {
		return nil, fmt.Errorf("serve logs: %w", err)
	}

	if err := c.startEtcd(ctx, parts); err != nil {
		return nil, err
	}
	if err := c.startServer(ctx, parts); err != nil {
		return nil, err
	}
	if err := c.startControllers(parts); err != nil {
		return nil, err
	}
	if err := c.startKwok(parts); err != nil {
		return nil, err
	}
	// The parts begin while the server is still giving out roles: they are masters and need none.
	if err := createObjects(ctx, client, kubeletPort); err != nil {
		return nil, err
	}
	if err := ready(ctx, config, parts); err != nil {
		return nil, err
	}
	if err := probe(ctx, client, parts); err != nil {
		return nil, fmt.Errorf("probe the cluster: %w", err)
	}
	return c, nil
}

// startEtcd listens on sockets in the cluster's directory, where every part works: no port to fight over.
func (c *cluster) startEtcd(ctx context.Context, parts *parts) error {
	return parts.startReady(ctx, "etcd",
		"--name=default", "--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=unix://etcd.sock", "--advertise-client-urls=unix://etcd.sock",
		"--listen-peer-urls=unix://peer.sock", "--initial-advertise-peer-urls=unix://peer.sock",
		"--initial-cluster=default=unix://peer.sock",
	)
}

// restartServer ends the API server in the middle of whatever it does, and returns when it answers again.
func (c *cluster) restartServer(ctx context.Context, parts *parts) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready after %s", startLimit))
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig(testbedUser))
	if err != nil {
		return err
	}
	parts.stop("kube-apiserver")
	if err := c.startServer(ctx, parts); err != nil {
		return err
	}
	// It says so when it listens, which is a little before it knows everything.
	return ready(ctx, config, parts)
}

func (c *cluster) startServer(ctx context.Context, parts *parts) error {
	return parts.startReady(ctx, "kube-apiserver",
		"--etcd-servers=unix://etcd.sock",
		"--kubelet-preferred-address-types=InternalIP", // nobody resolves the name of the node
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.port),
		"--permit-port-sharing", // the supervisor holds the port
		// A loopback address may not be advertised; nothing here connects to this one.
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file=server.crt", "--tls-private-key-file=server.key", "--cert-dir=.",
		"--token-auth-file=tokens.csv", "--client-ca-file=ca.crt", "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=service-account.pub", "--service-account-signing-key-file=service-account.key",
		// ServiceAccount would refuse pods until a controller has made the
		// namespace's account; the node's taint would wait for the controller left out above.
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
		"--enable-priority-and-fairness=false",
		"--audit-policy-file=audit-policy.yaml", "--audit-log-path=audit.log", "--audit-log-mode=blocking",
		"--shutdown-delay-duration=0s", "--profiling=false",
	)
}

func (c *cluster) startControllers(parts *parts) error {
	controllers := "--controllers=*"
	for _, name := range idleControllers {
		controllers += ",-" + name
	}
	common := []string{"--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000"}
	if err := parts.start("kube-controller-manager", nil, slices.Concat(common, []string{
		"--kubeconfig=" + c.kubeconfig(controllerUser), controllers,
		"--service-account-private-key-file=service-account.key", "--root-ca-file=ca.crt",
	})...); err != nil {
		return err
	}
	return parts.start("kube-scheduler", nil, slices.Concat(common, []string{"--kubeconfig=" + c.kubeconfig(schedulerUser)})...)
}

func (c *cluster) startKwok(parts *parts) error {
	return parts.start("kwok", nil,
		"--kubeconfig="+c.kubeconfig(kwokUser), "--config=stages.yaml",
		"--manage-single-node="+nodeName, "--node-lease-duration-seconds=40",
		"--cidr=10.0.0.0/16", "--node-ip=127.0.0.1",
	)
}

// ready polls, because /readyz has no watch.
func ready(ctx context.Context, config *rest.Config, parts *parts) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz?verbose", nil)
		if err != nil {
			return err
		}
		var report bytes.Buffer
		response, err := client.Do(request)
		if err == nil {
			_, _ = report.ReadFrom(response.Body)
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case end := <-parts.ends:
			return end
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), fmt.Errorf("the API server is not ready: %s", report.String()))
		}
	}
}

func (c *cluster) writeFiles() error {
	var err error
	if c.keys, err = newKeys(); err != nil {
		return err
	}
	if err := c.keys.write(c.root); err != nil {
		return err
	}
	if err := c.writeUsers(); err != nil {
		return err
	}
	stages, err := stagesYAML()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(c.root, "stages.yaml"), stages, 0o600),
		os.WriteFile(filepath.Join(c.root, "audit-policy.yaml"), auditPolicy, 0o600),
	)
}
