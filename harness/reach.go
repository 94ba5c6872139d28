package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/printable"
)

// reach is how a guest can be reached, as far as it can say itself: by it is told whose fault it is that ssh does not answer.
type reach struct {
	SSH     greeting `json:"ssh"`     // of its own port 22, at its address on the network if it has one
	Network []string `json:"network"` // its links, IPv4 addresses, routes and packet filters, as it shows them
}

// greeting is what the guest's own port 22 does.
type greeting string

const (
	greets greeting = "greets" // with SSH's first word
	silent greeting = "silent"
	// unknown is a guest without the tools to try it.
	unknown greeting = "unknown"
)

// reachScript prints a greeting, then the network. Packet counters are left out, and IPv6, whose addresses come late and go: the
// lab's way in is IPv4. An sshd that listens on the loopback alone greets nobody.
const reachScript = `set -- $(ip -4 -o address show scope global 2>/dev/null); address=${4%/*}
word=$(timeout 10 bash -c "exec 3<>/dev/tcp/${address:-127.0.0.1}/22"' && head -c 4 <&3' 2>/dev/null)
case $?$word in *SSH-) echo greets ;; 126|127) echo unknown ;; *) echo silent ;; esac
{ ip -brief link; ip -4 -brief address; ip -4 route; nft -s list ruleset; iptables-save | sed '/^#/d; s/ \[[0-9:]*\]$//'; } 2>/dev/null
exit 0`

// askReach asks the guest.
func (r *run) askReach(ctx context.Context, conn guest.Conn) (reach, error) {
	ctx, cancel := context.WithTimeout(ctx, r.bounds.Command)
	defer cancel()
	result, err := conn.Run(ctx, guest.Command{Line: reachScript})
	if err != nil {
		return reach{}, fmt.Errorf("asking the guest how it can be reached: %w", err)
	}
	return parseReach(result.Stdout), nil
}

func parseReach(output []byte) reach {
	const mostLines, longest = 500, 300
	lines := printable.Lines(string(output), mostLines, longest)
	found := reach{SSH: unknown, Network: lines[1:]}
	if g := greeting(lines[0]); g == greets || g == silent {
		found.SSH = g
	}
	for i, line := range found.Network {
		found.Network[i] = strings.TrimSpace(line)
	}
	return found
}

// unplugged tells whether a link has lost its carrier since: only the hypervisor can pull a virtual cable.
func (r reach) unplugged(since reach) bool {
	pulled := func(r reach) bool {
		return slices.ContainsFunc(r.Network, func(line string) bool { return strings.Contains(line, "NO-CARRIER") })
	}
	return pulled(r) && !pulled(since)
}

// lockout is whose fault it is that ssh does not answer, and why.
type lockout struct {
	ours   bool // the lab's, not the patch's
	reason string
	moved  bool // the network is not as before
}

// whose decides by proof. The patch is blamed for the silence only if something about the guest's reach is not as it was without
// the patch, or if its sshd itself said no; a guest that is fine in its own eyes is one that the lab does not reach.
func whose(before, now reach, cause error) lockout {
	l := lockout{moved: len(before.Network) > 0 && !slices.Equal(before.Network, now.Network)}
	refused, isRefused := errors.AsType[*refusedError](cause)
	switch {
	case errors.Is(cause, syscall.ECONNREFUSED):
		l.ours, l.reason = true, "nobody listens on the host's end of the guest's ssh port"
	case now.unplugged(before):
		l.ours, l.reason = true, "the guest's network card has lost its link, which only the hypervisor can do"
	case isRefused:
		l.reason = "its sshd answers, and there is no way in: " + printable.Line(refused.Error(), 300)
	case now.SSH == silent && before.SSH != silent:
		l.reason = "nothing greets on the guest's own port 22"
	case l.moved:
		l.reason = "its sshd greets on the guest's own port 22, but the network is not as it was before the patch"
	default:
		l.ours, l.reason = true, "its sshd greets inside the guest, and its network is as it was before the patch"
	}
	return l
}
