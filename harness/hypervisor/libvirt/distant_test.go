package libvirt

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/remote"
	"github.com/patchlab/patchlab/harness/sshclient"
	"github.com/patchlab/patchlab/harness/wait"
)

// bench is a server that plays another machine, which has files below root.
type bench struct {
	host *remote.Host
	root string
	here string // a directory of this host
	told []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	server, home := guesttest.NewServerWithHome(t)
	target, err := sshclient.ParseTarget(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	host, err := remote.Open(t.Context(), sshclient.Config{Home: home, User: "me"}, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	b := &bench{host: host, root: t.TempDir(), here: t.TempDir()}
	for _, dir := range []string{"images", "domains"} {
		if err := os.Mkdir(filepath.Join(b.root, dir), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *bench) place() *distant {
	return newDistant(b.host, b.root, func(text string) { b.told = append(b.told, text) })
}

func (b *bench) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(b.here, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// large is content of more than one chunk.
func large(t *testing.T) []byte {
	t.Helper()
	content := make([]byte, chunk+chunk/2)
	if _, err := io.ReadFull(rand.Reader, content); err != nil {
		t.Fatal(err)
	}
	return content
}

func TestAnImageIsUploadedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	image := b.write(t, "image.qcow2", large(t))
	there, err := b.place().store.put(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, there), read(t, image)) || filepath.Ext(there) != ".qcow2" {
		t.Errorf("what has arrived as %s is something else", there)
	}
	before, err := os.Stat(there)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.place().store.put(t.Context(), b.write(t, "copy.qcow2", read(t, image)))
	if err != nil || again != there {
		t.Errorf("the same content goes to %s (%v), is at %s", again, err, there)
	}
	if after, err := os.Stat(there); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("it was written again (%v)", err)
	}
	left, err := os.ReadDir(filepath.Join(b.root, "images"))
	if err != nil || len(left) != 1 {
		t.Errorf("there are %v (%v)", left, err)
	}
}

func TestAnUploadThatWasCutShortIsGoneOnWith(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	content := large(t)
	image := b.write(t, "image.qcow2", content)
	store := b.place().store
	digest, _, err := store.digest(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(b.root, "images", digest+".qcow2.part")
	// The last chunk has a hole, as packets that were under way are lost in any order.
	if err := os.WriteFile(part, append(bytes.Clone(content[:chunk]), 0, 0, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	there, err := store.put(t.Context(), image)
	if err != nil || !bytes.Equal(read(t, there), content) {
		t.Errorf("what has arrived is something else (%v)", err)
	}
}

func TestADamagedUploadIsNoImage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	image := b.write(t, "image.qcow2", large(t))
	store := b.place().store
	digest, size, err := store.digest(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(b.root, "images", digest+".qcow2")
	if err := os.WriteFile(target+".part", make([]byte, size), 0o600); err != nil { // its first chunk is not looked at again
		t.Fatal(err)
	}
	if there, err := store.put(t.Context(), image); err == nil {
		t.Errorf("it was taken for whole: %s", there)
	}
	for _, path := range []string{target, target + ".part"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if _, err := store.put(t.Context(), image); err != nil {
		t.Errorf("the next try: %v", err)
	}
}

func TestAConsoleIsCopiedAsItGrows(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	home := filepath.Join(b.root, "domains", "one")
	if err := os.Mkdir(home, 0o711); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(home, consoleFile)
	write := func(text string) {
		file, err := os.OpenFile(there, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	const before = "of an earlier domain\n"
	mark := metadata{Home: home, Console: b.write(t, "console.log", []byte(before)), ConsoleBase: int64(len(before))}
	place := b.place()
	place.attend("one", mark)
	write("first\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := wait.Until(ctx, "the copy", 10*time.Millisecond, func(context.Context) (bool, error) {
		return string(read(t, mark.Console)) == before+"first\n", nil
	}); err != nil {
		t.Fatal(err)
	}
	write("last\n")
	for range 2 { // by this process and by the next
		if err := place.leave(t.Context(), "one", mark); err != nil {
			t.Fatal(err)
		}
		if got := string(read(t, mark.Console)); got != before+"first\nlast\n" {
			t.Errorf("the console is %q", got)
		}
		place = b.place()
	}
}

func TestAConsoleThatIsPutAsideGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	there := filepath.Join(b.root, consoleFile)
	source := tail{host: b.host, mark: metadata{Home: b.root, Console: b.write(t, "console.log", nil)}}
	for _, content := range []string{"a long first file\n", "second\n", "second\nand more\n"} {
		if err := os.WriteFile(there, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := source.catchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(read(t, source.mark.Console)); got != "a long first file\nsecond\nand more\n" {
		t.Errorf("the console is %q", got)
	}
}

func TestAGuestsPortIsReachedThroughHere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "a guest")
			_ = conn.Close()
		}
	}()
	place := b.place()
	address, err := place.reach(t.Context(), "one", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := place.reach(t.Context(), "one", listener.Addr().String()); again != address {
		t.Errorf("the address was %s, is %s (%v)", address, again, err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if heard, err := io.ReadAll(conn); string(heard) != "a guest" {
		t.Errorf("heard %q (%v)", heard, err)
	}
	if err := place.leave(t.Context(), "one", metadata{}); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("the port is open after the guest's end")
	}
}

func TestADiskOfItsOwnComesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	spec := hypervisor.DomainSpec{
		Name: "one", Disk: hypervisor.Disk{Path: b.write(t, "disk.qcow2", []byte("before"))},
		Console: filepath.Join(b.here, "console.log"), Seed: b.write(t, "seed.iso", []byte("seed")),
	}
	place := b.place()
	made, err := place.furnish(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(read(t, made.spec.Seed)); got != "seed" || !strings.HasSuffix(made.spec.Seed, ".iso") {
		t.Errorf("the seed %s is %q", made.spec.Seed, got)
	}
	if err := os.WriteFile(made.spec.Disk.Path, []byte("after"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := place.clear(t.Context(), "one", made.mark); err != nil {
			t.Fatal(err)
		}
		if got := string(read(t, spec.Disk.Path)); got != "after" {
			t.Errorf("the disk is %q", got)
		}
	}
	if left, err := os.ReadDir(filepath.Join(b.root, "domains")); err != nil || len(left) != 0 {
		t.Errorf("left there: %v (%v)", left, err)
	}
}

func TestOnlyFilesOfDomainsAreRemovedThere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, home := range []string{"", "/", b.root, filepath.Join(b.root, "domains"), b.root + "/domains/..", b.root + "/domains/a/b", b.here} {
		if err := b.place().removeHome(t.Context(), metadata{Home: home}); err == nil {
			t.Errorf("%q was removed", home)
		}
	}
	if _, err := os.Stat(b.here); errors.Is(err, os.ErrNotExist) {
		t.Error("it is gone indeed")
	}
}

func TestOthersDomainsAreNotOurs(t *testing.T) {
	t.Parallel()
	here, there := &Driver{}, &Driver{endpoint: endpoint{target: &sshclient.Target{Host: "lab"}}}
	for _, test := range []struct {
		driver *Driver
		client string
		want   bool
	}{
		{here, "", true},
		{here, "another host", false},
		{there, clientName(), true},
		{there, "another host", false},
		{there, "", false},
	} {
		if got := test.driver.isOurs(metadata{Client: test.client}); got != test.want {
			t.Errorf("a domain of %q: %v", test.client, got)
		}
	}
}

func TestTheOtherMachineIsPrepared(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := filepath.Join(b.root, "it's", "new")
	found, err := survey(t.Context(), b.host, endpoint{dir: dir})
	if err != nil && strings.Contains(err.Error(), "apt-get install qemu-utils") {
		return // this machine plays the other, and the remedy is right
	}
	if err != nil {
		t.Fatal(err)
	}
	if found.root != dir || !strings.HasSuffix(found.session, "/libvirt") {
		t.Errorf("found %+v", found)
	}
	link := filepath.Join(b.here, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := survey(t.Context(), b.host, endpoint{dir: link}); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("a link is followed: %v", err)
	}
}
