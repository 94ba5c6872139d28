package libvirt

import (
	"context"
	"errors"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// TestTheFaultsOfAnAgentAreKeptApart holds libvirt 9.0's own codes and words.
func TestTheFaultsOfAnAgentAreKeptApart(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		code    golibvirt.ErrorNumber
		message string
		silent  bool
		refusal string
	}{
		{"not connected", golibvirt.ErrAgentUnresponsive, "Guest agent is not responding: QEMU guest agent is not connected", true, ""},
		{"no answer in time", golibvirt.ErrAgentUnresponsive, "Guest agent is not responding: Guest agent not available for now", true, ""},
		{"out of step", golibvirt.ErrAgentUnsynced, "Guest agent command sent but no reply", true, ""},
		{"no channel", golibvirt.ErrArgumentUnsupported, "argument unsupported: QEMU guest agent is not configured", true, ""},
		{
			"a refusal", golibvirt.ErrAgentCommandFailed,
			"internal error: unable to execute QEMU agent command 'guest-exec-status': PID 12 does not exist", false, "PID 12 does not exist",
		},
		{
			"an older libvirt's refusal", golibvirt.ErrInternalError,
			"internal error: unable to execute QEMU agent command 'guest-file-open': it's 'odd': really", false, "it's 'odd': really",
		},
		{"another internal error", golibvirt.ErrInternalError, "internal error: client socket is closed", false, ""},
		{"a domain that is off", golibvirt.ErrOperationInvalid, "Requested operation is not valid: domain is not running", false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := agentFault(t.Context(), golibvirt.Error{Code: uint32(tt.code), Message: tt.message})
			if errors.Is(err, hypervisor.ErrNoAgent) != tt.silent {
				t.Errorf("the error is %v; that no agent answers: want %v", err, tt.silent)
			}
			refusal, ok := errors.AsType[*hypervisor.AgentError](err)
			if ok != (tt.refusal != "") || ok && refusal.Description != tt.refusal {
				t.Errorf("the error is %v, want the refusal %q", err, tt.refusal)
			}
		})
	}
}

func TestNobodyAnswersWhenTheTimeIsUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := agentFault(ctx, context.Cause(ctx))
	if !errors.Is(err, hypervisor.ErrNoAgent) || !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
