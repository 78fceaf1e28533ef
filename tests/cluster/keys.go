package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certifiedUser has every right and shows a certificate instead of a token.
const certifiedUser = "certified"

// keys are a cluster's certificates: one authority, one server certificate for
// everything that listens, one client certificate, one key for the tokens of
// service accounts.
type keys struct {
	caPEM         []byte
	serverPEM     []byte
	serverKeyPEM  []byte
	clientPEM     []byte
	clientKeyPEM  []byte
	accountPEM    []byte
	accountPubPEM []byte
}

func newKeys() (*keys, error) {
	caKey, caKeyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	serverKey, serverKeyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	clientKey, clientKeyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	accountKey, accountKeyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(caKeyErr, serverKeyErr, clientKeyErr, accountKeyErr); err != nil {
		return nil, err
	}
	from := time.Now().Add(-time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "testbed"},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost", "kubernetes.default.svc"},
	}
	client := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: certifiedUser, Organization: []string{"system:masters"}},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, ca, serverKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	clientDER, err := x509.CreateCertificate(rand.Reader, client, ca, clientKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	serverKeyDER, serverKeyErr := x509.MarshalECPrivateKey(serverKey)
	clientKeyDER, clientKeyErr := x509.MarshalECPrivateKey(clientKey)
	accountDER, accountKeyErr := x509.MarshalECPrivateKey(accountKey)
	accountPubDER, accountPubErr := x509.MarshalPKIXPublicKey(accountKey.Public())
	if err := errors.Join(serverKeyErr, clientKeyErr, accountKeyErr, accountPubErr); err != nil {
		return nil, err
	}
	return &keys{
		caPEM:         block("CERTIFICATE", caDER),
		serverPEM:     block("CERTIFICATE", serverDER),
		serverKeyPEM:  block("EC PRIVATE KEY", serverKeyDER),
		clientPEM:     block("CERTIFICATE", clientDER),
		clientKeyPEM:  block("EC PRIVATE KEY", clientKeyDER),
		accountPEM:    block("EC PRIVATE KEY", accountDER),
		accountPubPEM: block("PUBLIC KEY", accountPubDER),
	}, nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (k *keys) write(root string) error {
	var errs []error
	for name, content := range map[string][]byte{
		"ca.crt": k.caPEM, "server.crt": k.serverPEM, "server.key": k.serverKeyPEM,
		"service-account.key": k.accountPEM, "service-account.pub": k.accountPubPEM,
	} {
		errs = append(errs, os.WriteFile(filepath.Join(root, name), content, 0o600))
	}
	return errors.Join(errs...)
}

func (k *keys) tls() (*tls.Config, error) {
	pair, err := tls.X509KeyPair(k.serverPEM, k.serverKeyPEM)
	return &tls.Config{Certificates: []tls.Certificate{pair}}, err
}
