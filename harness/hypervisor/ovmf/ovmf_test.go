package ovmf_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/hypervisor/ovmf"
)

// host has files, by path, of a size.
type host map[string]int64

func (h host) size(path string) (int64, error) {
	size, found := h[path]
	if !found {
		return 0, fs.ErrNotExist
	}
	return size, nil
}

func TestTheFirmwareFitsTheVariables(t *testing.T) {
	t.Parallel()
	h := host{
		"/usr/share/OVMF/OVMF_CODE_4M.fd": 1, "/usr/share/OVMF/OVMF_VARS_4M.fd": 40,
		"/usr/share/OVMF/OVMF_CODE.fd": 1, "/usr/share/OVMF/OVMF_VARS.fd": 20,
	}
	for size, want := range map[int64]string{0: "OVMF_CODE_4M.fd", 40: "OVMF_CODE_4M.fd", 20: "OVMF_CODE.fd"} {
		got, err := ovmf.FindOn(h.size, size)
		if err != nil || !strings.HasSuffix(got.Code, "/"+want) {
			t.Errorf("for variables of %d bytes: %s, error %v, want %s", size, got.Code, err, want)
		}
	}
	_, err := ovmf.FindOn(h.size, 30)
	if !errors.Is(err, ovmf.ErrMissing) || !strings.Contains(err.Error(), "OVMF_VARS.fd has 20") {
		t.Errorf("variables of another firmware: %v", err)
	}
}

func TestAHostWithoutFirmwareIsToldWhatToInstall(t *testing.T) {
	t.Parallel()
	// The code alone is of no use.
	_, err := ovmf.FindOn(host{"/usr/share/OVMF/OVMF_CODE.fd": 1}.size, 0)
	if !errors.Is(err, ovmf.ErrMissing) || !strings.Contains(err.Error(), "apt-get install --no-install-recommends ovmf") {
		t.Errorf("got %v", err)
	}
}
