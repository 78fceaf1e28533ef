package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"
)

// writeUsers writes the token file and one kubeconfig a user, that of the user with a certificate too.
func (c *cluster) writeUsers() error {
	users := []string{adminUser, controllerUser, schedulerUser, kwokUser, testbedUser}
	privileged := len(users)
	for i := range unprivilegedUsers {
		users = append(users, fmt.Sprintf("user-%d", i))
	}
	if err := os.MkdirAll(filepath.Join(c.root, "users"), 0o700); err != nil {
		return err
	}
	var tokens strings.Builder
	for i, user := range users {
		token := rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,%s", token, user, user)
		if i < privileged {
			tokens.WriteString(",system:masters")
		}
		tokens.WriteString("\n")
		if err := clientcmd.WriteToFile(c.kubeconfigFor(user, token), c.kubeconfig(user)); err != nil {
			return err
		}
	}
	certified := c.kubeconfigFor(certifiedUser, "")
	certified.AuthInfos[certifiedUser].ClientCertificateData = c.keys.clientPEM
	certified.AuthInfos[certifiedUser].ClientKeyData = c.keys.clientKeyPEM
	if err := clientcmd.WriteToFile(certified, c.kubeconfig(certifiedUser)); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.root, "tokens.csv"), []byte(tokens.String()), 0o600)
}

// kubeconfig is the path of a user's kubeconfig.
func (c *cluster) kubeconfig(user string) string {
	return filepath.Join(c.root, "users", strings.TrimPrefix(user, "system:")+".kubeconfig")
}

func (c *cluster) kubeconfigFor(user, token string) api.Config {
	const name = "testbed"
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: c.server, CertificateAuthorityData: c.keys.caPEM}
	config.AuthInfos[user] = &api.AuthInfo{Token: token}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: user, Namespace: "default"}
	config.CurrentContext = name
	return *config
}

// reservePort finds a free port and keeps it for the life of the process: the
// socket is bound but never listens, and only a server that asks to share the
// port, as the API server does, may bind it too.
func reservePort() (int, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	address, err := unix.Getsockname(socket)
	if err != nil {
		return 0, err
	}
	return address.(*unix.SockaddrInet4).Port, nil
}
