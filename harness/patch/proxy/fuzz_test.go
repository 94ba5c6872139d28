package proxy

import (
	"bufio"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzAdmit lets a guest ask for anything: what is admitted stays below the archive's URL and below the cache's directory.
func FuzzAdmit(f *testing.F) {
	f.Add([]byte("GET http://debian.patchlab.invalid/debian/pool/main/o/openssl/openssl_3_amd64.deb HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("GET http://debian.patchlab.invalid/debian/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("GET http://debian.patchlab.invalid/debian/%2e%2e/x?a=b HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"))
	const archive = "http://archive.example.org/mirror/debian"
	p, err := New(Config{Upstreams: map[string]string{"/debian/": archive}})
	if err != nil {
		f.Fatal(err)
	}
	cache := store{dir: "/cache"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(raw))))
		if err != nil {
			return
		}
		admitted, err := p.admit(request)
		if err != nil {
			return
		}
		if url := admitted.upstream(); !strings.HasPrefix(url, archive+"/") || strings.Contains(url, "/../") || strings.ContainsAny(url, "?# \r\n") {
			t.Errorf("%q leads to %q", raw, url)
		}
		if file := cache.file(admitted.path()); !strings.HasPrefix(filepath.Clean(file), "/cache/") {
			t.Errorf("%q is kept in %q", raw, file)
		}
	})
}
