//go:build vmtest

package proxy_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/keptguest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/patch/proxy"
)

func realGuest(t *testing.T) *sshguest.Conn {
	t.Helper()
	config, err := keptguest.Config(os.Getenv(keptguest.Variable))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := sshguest.New(config).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*sshguest.Conn)
}

// scratch is not under /run: the lists of a whole release, unpacked, need 51 MB and APT's caches as much again, while /run has a
// tenth of the guest's memory.
const scratch = "/var/tmp/patchlab-proxy-test"

// TestARealAPTComesThrough updates lists and downloads packages in the guest, away from APT's own files.
func TestARealAPTComesThrough(t *testing.T) {
	conn := realGuest(t)
	known, err := mirror.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Upstreams: map[string]string{"/debian/": known.Main, "/debian-security/": known.Security},
		CacheDir:  t.TempDir(), Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := conn.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := make(chan error, 1)
	go func() { serving <- p.Serve(t.Context(), listener) }()
	t.Cleanup(func() {
		if err := <-serving; err != nil {
			t.Error(err)
		}
	})
	security := "deb " + mirror.AliasSecurity + " bookworm-security main\n"
	both := security + "deb " + mirror.AliasMain + " bookworm main\n"
	apt := "apt-get -q -o Acquire::http::Proxy=http://" + listener.Addr().String() + " -o Acquire::Languages=none" +
		" -o Dir::Etc::sourcelist=" + scratch + "/sources.list -o Dir::Etc::sourceparts=-" +
		" -o Dir::State::lists=" + scratch + "/lists -o Dir::Cache=" + scratch + "/cache "
	for _, step := range []struct{ what, sources, line string }{
		{"update, security alone", security, apt + "update"},
		{"the same again", security, apt + "update"},
		{"the same with lists gone", security, "rm -r " + scratch + "/lists; mkdir -p " + scratch + "/lists/partial; " + apt + "update"},
		{"download openssl libssl3", security, apt + "-y -d install openssl libssl3"},
		{"download again from the cache", security, "rm -f " + scratch + "/cache/archives/*.deb; " + apt + "-y -d install openssl libssl3"},
		{"update, security and release", both, apt + "update"},
		{"the same with lists gone and kept compressed", both, "rm -r " + scratch + "/lists; mkdir -p " + scratch + "/lists/partial; " +
			apt + "-o Acquire::GzipIndexes=true update"},
	} {
		act(t.Context(), t, conn, "mkdir -p "+scratch+"/lists/partial "+scratch+"/cache/archives/partial")
		if err := conn.Put(t.Context(), scratch+"/sources.list", 0o644, strings.NewReader(step.sources)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		output := act(t.Context(), t, conn, step.line)
		t.Logf("%s: %.1f s\n%s", step.what, time.Since(start).Seconds(), output)
	}
	t.Cleanup(func() { act(context.WithoutCancel(t.Context()), t, conn, "rm -r "+scratch) })
	if errs := p.Errors(); len(errs) != 0 {
		t.Errorf("the mirror's errors: %v", errs)
	}
	denied := guest.Command{Line: "sed -i s/bookworm-security/no-such-suite/ " + scratch + "/sources.list; " + apt + "update"}
	result, err := conn.Run(t.Context(), denied)
	if err != nil || result.ExitCode == 0 || len(p.Errors()) != 0 {
		t.Errorf("a suite that does not exist: exit %d, %v, mirror's errors %v; want APT's failure alone", result.ExitCode, err, p.Errors())
	}
}

func act(ctx context.Context, t *testing.T, conn guest.Conn, line string) []byte {
	t.Helper()
	command := guest.Command{Line: line}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, result.Stdout, result.Stderr)
	}
	return result.Stdout
}
