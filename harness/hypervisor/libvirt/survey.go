package libvirt

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/patchlab/patchlab/harness/hypervisor/remote"
)

// surveyed is what has to be known of a machine before anything is put there.
type surveyed struct {
	root    string // for files, which QEMU can reach
	session string // where the user's own libvirt listens
}

// surveyScript prints the two directories. The first is made so that QEMU's user may pass, unless it is the session's own,
// which runs as ourselves; somebody else's directory of that name is refused.
const surveyScript = `set -eu
dir=%s session=%s
cache=${XDG_CACHE_HOME:-$HOME/.cache}
if [ -z "$dir" ]; then
  if [ -n "$session" ]; then dir=$cache/patchlab/remote
  elif [ "$(id -u)" = 0 ]; then dir=/var/lib/patchlab/remote
  else dir=/var/tmp/patchlab-$(id -u); fi
fi
umask 022
mkdir -p "$dir"
if [ -L "$dir" ] || [ ! -O "$dir" ]; then echo "$dir belongs to somebody else" >&2; exit 1; fi
mkdir -p "$dir/images" "$dir/domains"
chmod 711 "$dir" "$dir/images" "$dir/domains"
missing=
for program in qemu-img:qemu-utils sha256sum:coreutils; do
  command -v "${program%%%%:*}" >/dev/null || missing="$missing ${program#*:}"
done
if [ -n "$missing" ]; then echo "programs are missing: apt-get install$missing" >&2; exit 1; fi
printf '%%s\n' "$dir" "${XDG_RUNTIME_DIR:-$cache}/libvirt"
`

func survey(ctx context.Context, host *remote.Host, e endpoint) (surveyed, error) {
	session := "yes"
	if e.system {
		session = ""
	}
	output, err := host.Shell(ctx, fmt.Sprintf(surveyScript, remote.Quote(e.dir), remote.Quote(session)))
	if err != nil {
		return surveyed{}, fmt.Errorf("preparing %s for domains: %w", host.Name(), err)
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if len(lines) < 2 {
		return surveyed{}, fmt.Errorf("preparing %s for domains: it answers %q", host.Name(), output)
	}
	// What a login script prints comes first.
	return surveyed{root: lines[len(lines)-2], session: lines[len(lines)-1]}, nil
}

// socketDialer reaches libvirt's socket there. sshd does not say why it cannot, so the machine is asked.
func socketDialer(host *remote.Host) func(ctx context.Context, network, socket string) (net.Conn, error) {
	return func(ctx context.Context, network, socket string) (net.Conn, error) {
		conn, err := host.Dial(ctx, network, socket)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		quoted := remote.Quote(socket)
		state, asking := host.Shell(ctx, "if [ ! -S "+quoted+" ]; then echo none; elif [ -w "+quoted+" ]; then echo open; else echo closed; fi")
		if asking != nil {
			return nil, err
		}
		fields := strings.Fields(string(state))
		switch {
		case len(fields) > 0 && fields[len(fields)-1] == "none":
			return nil, fmt.Errorf("%w: %s on %s (is libvirtd or virtqemud running there?)", fs.ErrNotExist, socket, host.Name())
		case len(fields) > 0 && fields[len(fields)-1] == "closed":
			return nil, fmt.Errorf("%w: %s on %s", fs.ErrPermission, socket, host.Name())
		case strings.Contains(err.Error(), "prohibited"):
			return nil, fmt.Errorf("%w: its sshd forwards nothing: set AllowTcpForwarding and AllowStreamLocalForwarding to yes in its "+
				"sshd_config", err)
		default:
			return nil, err
		}
	}
}
