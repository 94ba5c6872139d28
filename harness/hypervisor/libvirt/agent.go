package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

const (
	// agentPatience is how long libvirt waits for the answer of an agent that is connected, in seconds. An emulated guest on a
	// busy host was seen to need two.
	agentPatience = 10
	// maxCommand is libvirt's bound of a string in a call (REMOTE_STRING_MAX): it hangs up on a longer one.
	maxCommand = 4 << 20
)

// CallAgent hands a command to the guest's agent. libvirt synchronises with the agent before each, so that a late answer to an
// earlier command is never taken for this one's, and bounds an answer to 10 MiB.
func (d *domain) CallAgent(ctx context.Context, command []byte) ([]byte, error) {
	act := "asking the guest agent of domain " + d.handle.Name
	if len(command) > maxCommand {
		return nil, fmt.Errorf("%s: a command of %d bytes is too long for libvirt", act, len(command))
	}
	answer, err := call(ctx, d.driver, act, func(l *golibvirt.Libvirt) (golibvirt.OptString, error) {
		return l.QEMUDomainAgentCommand(d.handle, string(command), agentPatience, 0)
	})
	if err != nil {
		return nil, agentFault(ctx, err)
	}
	if len(answer) != 1 {
		return nil, fmt.Errorf("%s: libvirt sends no answer", act)
	}
	return []byte(answer[0]), nil
}

// agentFault keeps apart a silent agent, an agent that refuses, and a libvirt that fails.
func agentFault(ctx context.Context, err error) error {
	failure, ok := errors.AsType[golibvirt.Error](err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", hypervisor.ErrNoAgent, err)
	case !ok:
		return err
	}
	switch golibvirt.ErrorNumber(failure.Code) {
	case golibvirt.ErrAgentUnresponsive, golibvirt.ErrAgentUnsynced, golibvirt.ErrAgentCommandTimeout,
		golibvirt.ErrArgumentUnsupported: // the domain has no channel for an agent
		return fmt.Errorf("%w: %w", hypervisor.ErrNoAgent, err)
	case golibvirt.ErrAgentCommandFailed:
		return refusal(failure.Message)
	case golibvirt.ErrInternalError: // what libvirt before 8.0 has for the same
		if strings.Contains(failure.Message, agentRefuses) {
			return refusal(failure.Message)
		}
		return err
	default:
		return err
	}
}

// agentRefuses begins libvirt's sentence about an agent's error: "unable to execute QEMU agent command 'NAME': DESCRIPTION".
const agentRefuses = "unable to execute QEMU agent command"

// refusal takes the agent's own words out of libvirt's sentence. The class of the error does not pass through libvirt.
func refusal(message string) *hypervisor.AgentError {
	_, sentence, found := strings.Cut(message, agentRefuses)
	if _, description, ok := strings.Cut(sentence, "': "); found && ok {
		message = description
	}
	return &hypervisor.AgentError{Description: message}
}
