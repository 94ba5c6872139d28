package probe

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// machineOff makes a raw disk with a small system in its second partition, as MBR or GPT say.
func machineOff(t *testing.T, withGPT bool) (disk *os.File, size int64) {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "/etc/group": "root:x:0:\n", "/etc/web.conf": "port = 80\npassword = Hunter2\n",
		"/usr/bin/web": "program", "/var/log/web.log": "started\n",
		"/var/lib/dpkg/status":        "Package: web\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n",
		"/var/lib/dpkg/info/web.list": "/.\n/bin/web\n/etc/web.conf\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(dir+path), 0o755), os.WriteFile(dir+path, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/bin", dir+"/bin"); err != nil {
		t.Fatal(err)
	}
	const start, length = 2048, 16 << 11 // sectors
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	fs := filepath.Join(t.TempDir(), "fs")
	if output, err := exec.CommandContext(t.Context(), "mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", dir, fs, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, output)
	}
	content, err := os.ReadFile(fs)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, (start+length+34)*sector)
	copy(raw[start*sector:], content)
	le := binary.LittleEndian
	if withGPT {
		copy(raw[sector:], "EFI PART")
		le.PutUint64(raw[sector+72:], 2)
		le.PutUint32(raw[sector+80:], 128)
		le.PutUint32(raw[sector+84:], 128)
		le.PutUint64(raw[2*sector+128+32:], start)
		le.PutUint64(raw[2*sector+128+40:], start+length-1)
	} else {
		raw[510], raw[511] = 0x55, 0xAA
		le.PutUint32(raw[446+16+8:], start)
		le.PutUint32(raw[446+16+12:], length)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err = os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	return disk, int64(len(raw))
}

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

func TestTheFilesOfADiskAreThoseThatItsGuestWouldTell(t *testing.T) {
	for name, withGPT := range map[string]bool{"MBR": false, "GPT": true} {
		t.Run(name, func(t *testing.T) {
			disk, size := machineOff(t, withGPT)
			files, err := DiskFiles(t.Context(), disk, size, tomorrow)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, f := range files.facts {
				if f.Attribute("type") != "dir" && !strings.HasPrefix(f.Name, "/var/lib/") {
					got[f.Name] = strings.Join([]string{f.Attribute("package"), f.Attribute("size"), f.Attribute("target"), f.Attribute("text")}, " ")
				}
			}
			want := map[string]string{
				"/etc/passwd": " 30  root:x:0:0:root:/root:/bin/sh\n", "/etc/group": " 10  root:x:0:\n",
				"/etc/web.conf": "web:all 29  port = 80\npassword = [hidden]\n", "/usr/bin/web": "web:all 7  ",
				"/var/log/web.log": " 8  ", "/bin": "  usr/bin ",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestADiskWithoutARootThatCanBeReadIsToldAsSuch(t *testing.T) {
	disk, size := machineOff(t, true)
	empty, err := os.Create(filepath.Join(t.TempDir(), "empty"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = empty.Close() })
	if err := empty.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := DiskFiles(t.Context(), empty, size, tomorrow); !errors.Is(err, ErrNoRoot) {
		t.Errorf("a disk with nothing on it: %v", err)
	}
	if _, err := DiskFiles(t.Context(), disk, 100*sector, tomorrow); !errors.Is(err, ErrNoRoot) {
		t.Errorf("a disk that ends before its partition: %v", err)
	}
}
