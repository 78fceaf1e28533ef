package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand"
	"net"
	"net/url"
	"time"

	"k8s.io/client-go/rest"
)

type trustAnswer struct {
	// The text of certificate-authority-data.
	Authorities string `json:"authorities"`
	// What the server shows, DER.
	Chain [][]byte `json:"chain"`
	// Whom the client wants to reach: a name or an address.
	Name string `json:"name"`
	// Seconds since 1970.
	Now   int64  `json:"now"`
	Error string `json:"error,omitempty"`
	// What was drawn, for the reader of a difference.
	Story string `json:"story"`
}

// drawing is where decisions come from. A calm one has few oddities.
type drawing struct {
	*mathrand.Rand
	rarer int
}

func (d drawing) oneIn(of int) bool { return d.Intn(of*d.rarer) == 0 }

// made is a certificate with its key.
type made struct {
	template *x509.Certificate
	parsed   *x509.Certificate
	key      crypto.Signer
}

// Keys that helm-guard's cryptography knows; drawing them anew would take most of the time.
var keys []crypto.Signer

func key(random drawing) crypto.Signer {
	if keys == nil {
		for range 6 {
			p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			_, edwards, _ := ed25519.GenerateKey(rand.Reader)
			keys = append(keys, p256, p384, edwards)
		}
		for range 2 {
			one, _ := rsa.GenerateKey(rand.Reader, 2048)
			keys = append(keys, one)
		}
	}
	return keys[random.Intn(len(keys))]
}

var names = []string{"api.example.com", "API.example.com", "*.example.com", "*", "example.com", "api.example.com.", "a.b.example.com", "_x.example.com", "-x.example.com", "*.*.com", "ap*.example.com", "127.0.0.1", "localhost", "..", ""}
var hosts = []string{"api.example.com", "api.example.com", "API.EXAMPLE.COM", "example.com", "a.b.example.com", "api.example.com.", "127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "localhost", "_x.example.com"}
var addresses = []string{"127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"}
var constraints = []string{"example.com", ".example.com", "com", "other.org", "", "api.example.com", "EXAMPLE.com"}
var networks = []string{"127.0.0.0/8", "10.0.0.0/24", "0.0.0.0/0", "::/0", "192.168.0.0/16"}

func certificate(random drawing, number int, isAuthority bool, now time.Time, host string, issuer *made, story *string) *made {
	chance := random.oneIn
	pick := func(from []string) string { return from[random.Intn(len(from))] }
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(int64(number + 1)),
		Subject:               pkix.Name{CommonName: fmt.Sprintf("c%d", number)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  isAuthority,
	}
	note := func(format string, values ...any) {
		*story += fmt.Sprintf(" c%d:", number) + fmt.Sprintf(format, values...)
	}
	if isAuthority {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	if chance(12) {
		template.Subject.CommonName = "c0"
		note("subject-c0")
	}
	if chance(12) {
		template.NotAfter = now.Add(-time.Minute)
		note("expired")
	}
	if chance(25) {
		template.NotBefore = now.Add(time.Minute)
		note("not-yet")
	}
	if chance(10) {
		template.IsCA = !template.IsCA
		note("ca=%v", template.IsCA)
	}
	if chance(8) {
		template.BasicConstraintsValid = false
		note("no-basic")
	}
	if chance(10) {
		template.KeyUsage = []x509.KeyUsage{0, x509.KeyUsageDigitalSignature, x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}[random.Intn(3)]
		note("usage=%d", template.KeyUsage)
	}
	if template.IsCA && template.BasicConstraintsValid && chance(5) {
		template.MaxPathLen = random.Intn(3)
		template.MaxPathLenZero = template.MaxPathLen == 0
		note("path=%d", template.MaxPathLen)
	}
	if chance(5) {
		usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageAny}
		template.ExtKeyUsage = []x509.ExtKeyUsage{usages[random.Intn(3)]}
		if chance(2) {
			template.ExtKeyUsage = append(template.ExtKeyUsage, usages[random.Intn(3)])
		}
		note("eku=%v", template.ExtKeyUsage)
	}
	if isAuthority && chance(5) {
		template.PermittedDNSDomainsCritical = chance(2)
		for range 1 + random.Intn(2) {
			_, network, _ := net.ParseCIDR(pick(networks))
			switch random.Intn(8) {
			case 0, 1:
				template.PermittedDNSDomains = append(template.PermittedDNSDomains, pick(constraints))
			case 2, 3:
				template.ExcludedDNSDomains = append(template.ExcludedDNSDomains, pick(constraints))
			case 4:
				template.PermittedIPRanges = append(template.PermittedIPRanges, network)
			case 5:
				template.ExcludedIPRanges = append(template.ExcludedIPRanges, network)
			case 6:
				template.PermittedURIDomains = append(template.PermittedURIDomains, pick(constraints))
			default:
				template.PermittedEmailAddresses = append(template.PermittedEmailAddresses, pick(constraints))
			}
		}
		note("constraints=%v,%v,%v,%v", template.PermittedDNSDomains, template.ExcludedDNSDomains, template.PermittedIPRanges, template.ExcludedIPRanges)
	}
	if !isAuthority || chance(6) {
		switch random.Intn(8 * random.rarer) {
		case 0: // A common name alone.
			template.Subject.CommonName = host
			note("no-san")
		case 1, 2, 3:
			for range 1 + random.Intn(3) {
				template.DNSNames = append(template.DNSNames, pick(names))
			}
		default:
			if address := net.ParseIP(host); address != nil {
				template.IPAddresses = append(template.IPAddresses, address)
			} else {
				template.DNSNames = append(template.DNSNames, host)
			}
		}
		if chance(3) {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(pick(addresses)))
		}
		if chance(12) {
			where, _ := url.Parse([]string{"spiffe://example.com/x", "https://other.org", "urn:x"}[random.Intn(3)])
			template.URIs = append(template.URIs, where)
			note("uri=%v", where)
		}
		if chance(20) {
			template.EmailAddresses = append(template.EmailAddresses, "a@example.com")
			note("mail")
		}
		note("san=%q,%v", template.DNSNames, template.IPAddresses)
	}
	if chance(30) {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: []int{1, 2, 3, 4}, Critical: chance(2), Value: []byte{5, 0}})
		note("extension")
	}
	own := key(random)
	parent, signer := template, own
	if issuer != nil {
		parent, signer = issuer.parsed, issuer.key
		if chance(20) {
			// CreateCertificate would look whether the key is the parent's.
			other := *parent
			other.PublicKey = nil
			parent, signer = &other, key(random)
			note("other-key")
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), signer)
	if err != nil {
		return nil
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return &made{template, parsed, own}
}

// trust draws authorities, what a server shows and its name, and says what Go makes of them.
func trust(seed int64) trustAnswer {
	random := drawing{mathrand.New(mathrand.NewSource(seed)), 1}
	random.rarer += 8 * random.Intn(2)
	now := time.Now().Truncate(time.Second)
	host := hosts[random.Intn(len(hosts))]
	story := ""
	var all []*made
	var last *made
	depth := random.Intn(4)
	for number := range depth {
		next := certificate(random, number, true, now, host, last, &story)
		if next == nil {
			break
		}
		all = append(all, next)
		last = next
		if random.oneIn(10) { // The same authority, signed by itself.
			if again := certificate(random, number, true, now, host, nil, &story); again != nil {
				all = append(all, again)
			}
		}
	}
	if depth > 0 && last == nil {
		return trustAnswer{Story: "none"}
	}
	leaf := certificate(random, depth, random.Intn(5) == 0, now, host, last, &story)
	if leaf == nil {
		return trustAnswer{Story: "none"}
	}
	answer := trustAnswer{Name: host, Now: now.Unix()}
	answer.Chain = append(answer.Chain, leaf.parsed.Raw)
	for _, one := range all {
		if !random.oneIn(6) {
			answer.Chain = append(answer.Chain, one.parsed.Raw)
		}
	}
	random.Shuffle(len(answer.Chain)-1, func(a, b int) {
		answer.Chain[a+1], answer.Chain[b+1] = answer.Chain[b+1], answer.Chain[a+1]
	})
	var text bytes.Buffer
	for number, one := range append(all, leaf) {
		isLeaf := number == len(all)
		if isLeaf && random.Intn(4) != 0 || !isLeaf && number > 0 && random.Intn(4) != 0 {
			continue
		}
		block := &pem.Block{Type: "CERTIFICATE", Bytes: one.parsed.Raw}
		switch random.Intn(16 * random.rarer) {
		case 0:
			block.Type = "TRUSTED CERTIFICATE"
		case 1:
			block.Headers = map[string]string{"Name": "x"}
		case 2:
			text.WriteString("some junk\n-----BEGIN NOTHING\n")
		case 3:
			text.WriteString("subject=CN = x\r\n\r\n")
		}
		encoded := pem.EncodeToMemory(block)
		switch random.Intn(12 * random.rarer) {
		case 0:
			encoded = bytes.ReplaceAll(encoded, []byte("\n"), []byte("\r\n"))
		case 1:
			encoded = bytes.ReplaceAll(encoded, []byte("\n"), []byte("  \n"))
		case 2:
			encoded = bytes.TrimSpace(encoded)
		case 3:
			encoded = bytes.ReplaceAll(encoded, []byte("\n"), []byte("\n  "))
		}
		text.Write(encoded)
	}
	if random.oneIn(6) { // A byte of the leaf, or of an authority, is another.
		at := 0
		changed := bytes.Clone(answer.Chain[at])
		changed[random.Intn(len(changed))] ^= byte(1 << random.Intn(8))
		answer.Chain[at] = changed
		story += fmt.Sprintf(" flipped-%d", at)
	}
	answer.Authorities, answer.Story = text.String(), fmt.Sprintf("%s;%s", host, story)
	if err := verify(answer, now); err != nil {
		answer.Error = err.Error()
	}
	return answer
}

// verify does what crypto/tls does with the certificates of a server.
func verify(answer trustAnswer, now time.Time) error {
	config := &rest.Config{Host: "https://x", TLSClientConfig: rest.TLSClientConfig{CAData: []byte(answer.Authorities)}}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return err
	}
	if tls == nil {
		return fmt.Errorf("no authorities")
	}
	options := x509.VerifyOptions{Roots: tls.RootCAs, CurrentTime: now, DNSName: answer.Name, Intermediates: x509.NewCertPool()}
	var leaf *x509.Certificate
	for number, der := range answer.Chain {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		if number == 0 {
			leaf = parsed
		} else {
			options.Intermediates.AddCert(parsed)
		}
	}
	_, err = leaf.Verify(options)
	return err
}
