package consultest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// WithTLS makes the agent listen for HTTPS too: see [Agent.SecureAddr] and
// [Agent.TLS].
func WithTLS() Option { return func(a *Agent) { a.secure = new(secure) } }

// SecureAddr is where the HTTPS API listens, as host:port.
func (a *Agent) SecureAddr() string { return loopback(a.ports.https) }

// TLS returns the configuration of a client that trusts the agent.
func (a *Agent) TLS() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.secure.cert)
	return &tls.Config{RootCAs: roots}
}

// secure is a certificate for 127.0.0.1 that signs itself.
type secure struct {
	cert *x509.Certificate // nil until it was written
}

// write makes the certificate, once, and returns the configuration that uses it.
func (s *secure) write(dir string) (config string, err error) {
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	config = fmt.Sprintf("tls { https { cert_file = %q, key_file = %q } }", certFile, keyFile)
	if s.cert != nil {
		return config, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "consultest"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	if err := writePEM(certFile, "CERTIFICATE", der); err != nil {
		return "", err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", keyDER); err != nil {
		return "", err
	}
	s.cert, err = x509.ParseCertificate(der)
	return config, err
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
