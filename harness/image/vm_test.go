//go:build vmtest

package image_test

import (
	"bufio"
	"context"
	"flag"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/sshguest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/hypervisor/private"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/images"
)

// tcgSlowness is generous: this test measures nothing.
const tcgSlowness = 6

// TestBecomeLibvirtd is where this test binary arrives when it starts its private libvirt. Without arguments it is no
// test.
func TestBecomeLibvirtd(t *testing.T) {
	if flag.NArg() == 0 {
		return
	}
	t.Fatal(private.Exec(flag.Args()))
}

// TestDebian12Web builds the real image, or takes the one in PATCHLAB_IMAGES_DIR, and looks at it as a clone does.
func TestDebian12Web(t *testing.T) {
	builder := newBuilder(t)
	m, err := manifest.Load(images.FS, "debian-12-web")
	if err != nil {
		t.Fatal(err)
	}
	built, err := builder.Build(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("image %s, %d MiB, seconds %v", built.ShortDigest(), built.DiskSize>>20, built.Seconds)
	conn := clone(t, builder, built)

	for name, check := range map[string]struct{ line, want string }{
		"nothing has failed":                  {"systemctl is-system-running --wait", "running"},
		"it was started by its boot loader":   {"grep -c '^BOOT_IMAGE=/boot/vmlinuz.* root=UUID=.*console=ttyS0' /proc/cmdline", "1"},
		"nobody has a password":               {`awk -F: '$2 !~ /^[!*]/ {print $1}' /etc/shadow`, ""},
		"sshd takes keys only":                {"sshd -T | grep -c '^\\(passwordauthentication\\|kbdinteractiveauthentication\\) no'", "2"},
		"its name is its own":                 {"hostname; cut -d' ' -f3 /etc/ssh/ssh_host_ed25519_key.pub", "web\nroot@web"},
		"one partition with room":             {"test $(df --output=avail -m / | tail -1) -gt 1500 && echo room", "room"},
		"the mirror is an alias":              {"cat /etc/apt/sources.list; ls /etc/apt/sources.list.d", "deb " + mirror.AliasMain + " bookworm main"},
		"no package lists stay":               {"find /var/lib/apt/lists /var/cache/apt -type f", ""},
		"no build tool stays":                 {"ls -d /etc/apt/apt.conf.d/*mmdebstrap* /usr/sbin/policy-rc.d /sbin/start-stop-daemon.REAL /var/tmp/patchlab* 2>/dev/null", ""},
		"only the clone's key lets in":        {"grep -c . /root/.ssh/authorized_keys", "1"},
		"no persistent timer was missed":      {"find /var/lib/systemd/timers -name 'stamp-*' ! -newer /proc/1", ""},
		"set-uid survived":                    {"stat -c '%a %U:%G' /usr/bin/sudo /usr/bin/passwd /var/mail", "4755 root:root\n4755 root:root\n2775 root:mail"},
		"the boot loader's updates know disk": {"debconf-show grub-pc 2>/dev/null | grep -c 'install_devices: /dev/vda'", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, conn, check.line); got != check.want {
				t.Errorf("%s\nsays %q\nwant %q", check.line, got, check.want)
			}
		})
	}
	t.Run("file capabilities are those of a live system", func(t *testing.T) {
		want, err := exec.CommandContext(t.Context(), "getcap", "/usr/bin/ping").Output()
		if err != nil || len(want) == 0 {
			want = []byte("/usr/bin/ping cap_net_raw=ep\n") // Debian 12's; this host has no ping to compare with
		}
		if got := run(t, conn, "getcap /usr/bin/ping"); got != strings.TrimSpace(string(want)) {
			t.Errorf("getcap says %q, want %q", got, want)
		}
	})
	t.Run("nothing names the host or its mirror", func(t *testing.T) {
		for _, word := range hostWords(t) {
			// -w, because a host's name may be a common syllable.
			if got := run(t, conn, "grep -rIlwF -- '"+word+"' /etc /root /var/lib/apt /var/lib/dpkg/info/*.conffiles /var/log /boot/grub/grub.cfg"); got != "" {
				t.Errorf("a name of the host is in %q", got)
			}
		}
	})
	t.Run("the page is served", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{DialContext: conn.Dial}}
		response, err := client.Get("http://127.0.0.1:80/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		page, err := io.ReadAll(response.Body)
		if err != nil || !strings.Contains(string(page), "patchlab test page") {
			t.Errorf("page %q, error %v", page, err)
		}
	})
}

// hostWords are the names that must not be in an image.
func hostWords(t *testing.T) []string {
	t.Helper()
	m, err := mirror.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(m.Main)
	if err != nil {
		t.Fatal(err)
	}
	words := []string{base.Hostname()}
	resolv, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return words
	}
	defer func() { _ = resolv.Close() }()
	for lines := bufio.NewScanner(resolv); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == "nameserver" && fields[1] != "127.0.0.1" {
			words = append(words, fields[1])
		}
	}
	return words
}

func newBuilder(t *testing.T) *image.Builder {
	t.Helper()
	dir := openDir(t)
	store := os.Getenv("PATCHLAB_IMAGES_DIR")
	if store == "" {
		store = filepath.Join(dir, "images")
	}
	instance, err := private.Ensure(t.Context(), private.Options{
		Dir: filepath.Join(dir, "lv"), MaskKVM: true, Idle: 5 * time.Second,
		Self: []string{self(t), "-test.run=^TestBecomeLibvirtd$", "--"},
	})
	if err != nil {
		t.Fatal(err)
	}
	driver, err := libvirt.Connect(t.Context(), libvirt.Options{URI: instance.URI, Owner: instance.Owner})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Close() })
	return &image.Builder{
		Store: &image.Store{Dir: store}, Driver: driver, Mirror: mirror.Find, Accelerator: hypervisor.TCG,
		Timeouts: timing.Default().Scaled(tcgSlowness), Now: time.Now, NewKey: newKey,
		Unshare: os.Getuid() != 0,
		Sink:    logSink{t},
	}
}

// self is this program's own path.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newKey() (image.Key, error) { return keyFor(image.Access{}) }

// keyFor makes a key for one boot.
func keyFor(access image.Access) (image.Key, error) {
	signer, line, _, err := sshguest.GenerateKey()
	return image.Key{AuthorizedKey: line, Dialer: func(address, hostKey string, log io.Writer) (guest.Dialer, error) {
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
		user := access.Login()
		return sshguest.New(sshguest.Config{
			Address: address, HostKey: public, Signer: signer, User: user, Sudo: user != "root", CommandLog: log,
		}), err
	}}, err
}

// clone starts one and logs in.
func clone(t *testing.T, b *image.Builder, built image.Image) guest.Conn {
	t.Helper()
	domain, key := defineClone(t, b, built)
	return bootClone(t, b, built, domain, key)
}

// defineClone makes a clone that is gone when the test ends.
func defineClone(t *testing.T, b *image.Builder, built image.Image) (hypervisor.Domain, image.Key) {
	t.Helper()
	spec, key := cloneSpec(t, b, built)
	return define(t, b, spec), key
}

// cloneSpec describes a clone with a key of its own.
func cloneSpec(t *testing.T, b *image.Builder, built image.Image) (hypervisor.DomainSpec, image.Key) {
	t.Helper()
	dir := openDir(t)
	key, err := keyFor(built.Access)
	if err != nil {
		t.Fatal(err)
	}
	spec := hypervisor.DomainSpec{
		Name: "patchlab-" + filepath.Base(dir), RunID: "test", RunDir: dir,
		Firmware: built.Firmware, Accelerator: b.Accelerator, MemoryMiB: built.MemoryMiB, VCPUs: built.VCPUs,
		Disk:    hypervisor.Disk{Path: filepath.Join(dir, "disk.qcow2"), Backing: built.Disk},
		Console: filepath.Join(dir, "console.log"), MAC: built.MAC,
	}
	if built.Firmware == hypervisor.EFI {
		spec.Variables = hypervisor.Variables{Path: filepath.Join(dir, "disk.fd"), From: built.Variables}
	}
	if err := built.Access.HandOver(key.AuthorizedKey, filepath.Join(dir, "seed.iso"), &spec); err != nil {
		t.Fatal(err)
	}
	return spec, key
}

func define(t *testing.T, b *image.Builder, spec hypervisor.DomainSpec) hypervisor.Domain {
	t.Helper()
	domain, err := b.Driver.Define(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := domain.Undefine(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return domain
}

// bootClone turns a clone on and logs in.
func bootClone(t *testing.T, b *image.Builder, built image.Image, domain hypervisor.Domain, key image.Key) guest.Conn {
	t.Helper()
	if err := domain.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	address, err := domain.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := key.Dialer(address, built.HostKey, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), b.Timeouts.Boot)
	defer cancel()
	conn, err := guest.Await(ctx, dialer, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func run(t *testing.T, conn guest.Conn, line string) string {
	t.Helper()
	result, err := conn.Run(t.Context(), guest.Command{Line: line})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(result.Stdout))
}

// openDir is a short temporary directory that QEMU's user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pl") //nolint:usetesting // t.TempDir is too long for sockets, and closed to others
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// logSink shows the build's progress in the test's log.
type logSink struct{ t *testing.T }

// Emit logs the end of each step.
func (s logSink) Emit(e progress.Event) {
	s.t.Logf("%s %s %s %s", e.At.Format(time.TimeOnly), e.Step, e.Text, e.Elapsed.Round(time.Millisecond))
}
