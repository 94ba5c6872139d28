package keptguest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/patchlab/patchlab/harness/guest/keptguest"
	"github.com/patchlab/patchlab/harness/rundir"
)

// FuzzConfig reads what lies in a run directory, where anybody may have put it.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"address":"127.0.0.1:22","host_key":"ssh-ed25519 AAAA","user":"root"}`), []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, kept, key []byte) {
		for name, content := range map[string][]byte{rundir.Kept: kept, rundir.Key: key} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if config, err := keptguest.Config(dir); err == nil && (config.HostKey == nil || config.Signer == nil) {
			t.Errorf("a guest without keys: %+v", config)
		}
	})
}
