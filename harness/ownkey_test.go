package harness_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/verdict"
)

// writeKeys is what the guest's init system does with the key that it is handed, and what patches do that let others in.
func (s *server) writeKeys(lines string) {
	sum := sha256.Sum256([]byte(lines))
	s.put("file", "/root/.ssh/authorized_keys", "type", "file", "mode", "0600", "sha256", hex.EncodeToString(sum[:]))
}

func TestTheKeyOfABootedCloneIsNoFinding(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.onApply["good"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
	for range 2 {
		result, err := harness.Run(t.Context(), l.lab(), scripted("good"), harness.RunOptions{Sink: l.options().Sink, Cold: true})
		if err != nil || result.Outcome != verdict.Pass || len(result.Findings) > 0 {
			t.Errorf("%s, %+v, error %v", result.Outcome, result.Findings, err)
		}
	}
}

func TestAnotherKeyBesideTheLabsIsAFinding(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.onApply["another"] = func(s *server) {
		s.writeKeys(s.spec.Credentials["ssh.authorized_keys.root"] + "\nssh-ed25519 BBBB somebody")
	}
	result := l.run(scripted("another"))
	if result.Outcome != verdict.Regression || len(result.Findings) != 1 || result.Findings[0].ID != "PL403" {
		t.Errorf("%s, %+v", result.Outcome, result.Findings)
	}
}
