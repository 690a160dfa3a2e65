package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// nginx is an nginx that balances over the site's endpoints.
type nginx struct {
	process
	dir  string
	addr string
}

const nginxConf = `daemon off;
master_process off;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000000;
	upstream users {
%[3]s		keepalive %[4]d;
		keepalive_requests 1000000000;
	}
	server {
		listen %[2]s;
		location / {
			proxy_pass http://users;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

// nginxInstalled reports whether there is an nginx on the PATH.
func nginxInstalled() bool {
	_, err := exec.LookPath("nginx")
	return err == nil
}

// nginxHop is net/http alone that calls an nginx, whose CPU time counts too.
func nginxHop(s *site) entry {
	return entry{"net/http alone, through nginx", func() (worker, error) {
		hop, err := startNginx(s)
		if err != nil {
			return worker{}, err
		}
		behind := *s
		behind.addrs = []string{hop.addr}
		w, err := bare.entry(&behind).start()
		if err != nil {
			hop.end()
			return worker{}, err
		}
		stop := w.stop
		w.helper = hop.cpuTime
		w.stop = func() { stop(); hop.end() }
		return w, nil
	}}
}

func startNginx(s *site) (*nginx, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return nil, err
	}
	n := &nginx{dir: dir, addr: addr}
	err = n.configure(s)
	if err == nil {
		err = n.begin(exec.Command("nginx", "-p", dir, "-c", n.conf(), "-e", filepath.Join(dir, "error.log")))
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	if err := n.await(s); err != nil {
		n.end()
		return nil, err
	}
	return n, nil
}

func (n *nginx) conf() string { return filepath.Join(n.dir, "nginx.conf") }

func (n *nginx) configure(s *site) error {
	var upstream strings.Builder
	for _, addr := range s.addrs {
		fmt.Fprintf(&upstream, "\t\tserver %s;\n", addr)
	}
	text := fmt.Sprintf(nginxConf, n.dir, n.addr, upstream.String(), idleConns)
	return os.WriteFile(n.conf(), []byte(text), 0o600)
}

// await waits until it answers.
func (n *nginx) await(s *site) error {
	closing := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = s.get(closing.Do, url(n.addr)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("nginx does not answer: %w", err)
}

func (n *nginx) end() {
	n.process.end()
	_ = os.RemoveAll(n.dir)
}

// freeAddr is where nobody listens just now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
