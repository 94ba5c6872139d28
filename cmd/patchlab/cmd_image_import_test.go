package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/verdict"
)

func TestImageImportReportsEveryMistakeAtOnce(t *testing.T) {
	t.Parallel()
	code, _, stderr := imageCommand(t, "image", "import", "x.qcow2", "--name", "debian-12-web", "--firmware", "uefi",
		"--memory", "much", "--vcpus", "0", "--user", "a b", "--key", filepath.Join(t.TempDir(), "none"))
	if code != verdict.ExitUsage {
		t.Errorf("exit %d, want %d", code, verdict.ExitUsage)
	}
	for _, want := range []string{"choose another name", "bios or efi", "--memory", "--vcpus", `"a b"`, "--key"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("nothing about %s:\n%s", want, stderr)
		}
	}
	if code, _, stderr := imageCommand(t, "image", "import", "x.qcow2"); code != verdict.ExitUsage || !strings.Contains(stderr, "--name is missing") {
		t.Errorf("without a name: exit %d, %s", code, stderr)
	}
}

func TestAFileThatIsNoImageIsRefusedBeforeTheHostIsOpened(t *testing.T) {
	t.Parallel()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(raw, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := imageCommand(t, "image", "import", raw, "--name", "web")
	if code != verdict.ExitUsage || !strings.Contains(stderr, "qemu-img convert -f raw -O qcow2") {
		t.Errorf("exit %d, %q, want exit %d and the remedy", code, stderr, verdict.ExitUsage)
	}
}

func TestImageExportMistakesAreUsageErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"image", "export", "debian-12-web", "x.vmdk", "--format", "vmdk"}, "want qcow2 or vagrant"},
		{[]string{"image", "export", "debian-12-web", "x.qcow2"}, "patchlab image build debian-12-web"},
	} {
		code, _, stderr := imageCommand(t, test.args...)
		if code != verdict.ExitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: exit %d, %q, want exit %d and %q", test.args, code, stderr, verdict.ExitUsage, test.want)
		}
	}
}

func TestAGivenKeyThatCannotBeUsedIsToldWithTheRemedy(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Fatal("ssh-keygen makes the keys of this test: ", err)
	}
	dir := t.TempDir()
	for name, passphrase := range map[string]string{"open": "", "locked": "secret"} {
		command := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", filepath.Join(dir, name))
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "rubbish"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"locked": "has a passphrase", "rubbish": "reading the key", "none": "no such file"} {
		if _, err := newAccess(image.Access{Way: image.WayKey, KeyFile: filepath.Join(dir, name)}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	access, err := newAccess(image.Access{Way: image.WayKey, KeyFile: filepath.Join(dir, "open")}, nil)
	public, readErr := os.ReadFile(filepath.Join(dir, "open.pub"))
	if err != nil || readErr != nil || !strings.HasPrefix(string(public), access.AuthorizedKey) {
		t.Errorf("%q, %v, %v", access.AuthorizedKey, err, readErr)
	}
}
