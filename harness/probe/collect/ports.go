package collect

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// ports reads the listening sockets and who holds them.
func ports(_ context.Context, src *Source) ([]fact.Fact, error) {
	sockets, err := listeners(src)
	if len(sockets) == 0 {
		return nil, err
	}
	table, errTable := src.table()
	if table == nil {
		return nil, errors.Join(err, errTable)
	}
	owners := socketOwners(src, table, sockets)
	held := map[string]*portFact{}
	for inode, name := range sockets {
		holders := owners[inode]
		if len(holders) > 0 && !slices.ContainsFunc(holders, func(p process) bool { return !p.hidden }) {
			continue // a forwarding of the login that looks
		}
		if held[name] == nil {
			held[name] = &portFact{}
		}
		held[name].add(holders)
	}
	facts := make([]fact.Fact, 0, len(held))
	for name, p := range held {
		facts = append(facts, fact.Fact{Kind: fact.KindPort, Name: name, Attributes: map[string]string{
			"unit": sortedList(p.units), "executable": sortedList(p.executables), "user": sortedList(p.users),
		}})
	}
	return facts, err
}

// portFact collects the owners of the sockets that share a name: one for IPv4 and one for IPv6 is the usual pair, and
// SO_REUSEPORT allows any number.
type portFact struct{ units, executables, users []string }

func (f *portFact) add(holders []process) {
	owner, ok := mainHolder(holders)
	if !ok {
		return
	}
	f.units = append(f.units, owner.unit)
	f.executables = append(f.executables, owner.executable)
	f.users = append(f.users, owner.user)
}

// mainHolder chooses among the processes that hold one socket: not systemd, which keeps the sockets that it hands out, and
// the parent rather than its workers.
func mainHolder(holders []process) (process, bool) {
	var best process
	found := false
	for _, p := range holders {
		switch {
		case p.hidden, found && p.pid == 1:
			continue
		case found && best.pid != 1 && p.parent == best.pid:
			continue
		case found && best.pid != 1 && best.parent != p.pid && best.pid < p.pid:
			continue
		}
		best, found = p, true
	}
	return best, found
}

// listeners returns the names of the listening sockets by inode.
func listeners(src *Source) (map[string]string, error) {
	sockets := map[string]string{}
	var errs []error
	for _, table := range []struct {
		file, protocol, state string
	}{
		{"tcp", "tcp", "0A"},  // TCP_LISTEN
		{"tcp6", "tcp", "0A"}, // the same port on both families is one port
		{"udp", "udp", "07"},  // TCP_CLOSE: bound and not connected, so anybody's packets arrive
		{"udp6", "udp", "07"},
	} {
		data, err := src.read("/proc/net/"+table.file, maxProcFile)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
				errs = append(errs, fmt.Errorf("reading sockets: %w", err))
			}
			continue
		}
		for line := range bytes.Lines(data) {
			if inode, address, ok := parseSocket(string(line), table.state); ok {
				sockets[inode] = table.protocol + "/" + address
			}
		}
	}
	data, err := src.read("/proc/net/unix", maxProcFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("reading sockets: %w", err))
	}
	for line := range bytes.Lines(data) {
		if inode, path, ok := parseUnixSocket(string(line)); ok {
			sockets[inode] = "unix" + path
		}
	}
	return sockets, errors.Join(errs...)
}

// parseSocket reads a line of /proc/net/{tcp,udp}{,6} and returns the socket's inode and ADDRESS:PORT if it is in a state.
func parseSocket(line, state string) (inode, address string, ok bool) {
	w := strings.Fields(line) // sl, local, remote, state, queues, timer, retransmits, uid, timeout, inode
	if len(w) < 10 || w[3] != state {
		return "", "", false
	}
	host, port, found := strings.Cut(w[1], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	ip, isIP := parseHexIP(host)
	if !found || err != nil || !isIP {
		return "", "", false
	}
	switch {
	case ip.IsUnspecified():
		address = fmt.Sprintf("*:%d", number)
	case ip.Is4():
		address = fmt.Sprintf("%s:%d", ip, number)
	default:
		address = fmt.Sprintf("[%s]:%d", ip, number)
	}
	return w[9], address, true
}

// parseHexIP reads an address as the kernel prints it: groups of four bytes, each in the byte order of the processor,
// which is little endian on everything that patchlab runs.
func parseHexIP(s string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw)%4 != 0 {
		return netip.Addr{}, false
	}
	for group := range slices.Chunk(raw, 4) {
		slices.Reverse(group)
	}
	ip, ok := netip.AddrFromSlice(raw)
	return ip.Unmap(), ok
}

// parseUnixSocket reads a line of /proc/net/unix: address, references, protocol, flags, type, state, inode, path. It wants
// listening sockets of services: those with a name below /run or /var, but not a login's.
func parseUnixSocket(line string) (inode, path string, ok bool) {
	const acceptsConnections = 1 << 16 // __SO_ACCEPTCON
	w := strings.SplitN(strings.Join(strings.Fields(line), " "), " ", 8)
	if len(w) < 8 {
		return "", "", false
	}
	flags, err := strconv.ParseUint(w[3], 16, 32)
	if err != nil || flags&acceptsConnections == 0 {
		return "", "", false
	}
	path = w[7]
	named := strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, "/var/")
	return w[6], path, named && !strings.HasPrefix(path, "/run/user/")
}

// socketOwners finds the processes that hold each of the sockets.
func socketOwners(src *Source, table *processTable, sockets map[string]string) map[string][]process {
	owners := map[string][]process{}
	for _, p := range table.processes {
		dir := "/proc/" + strconv.Itoa(p.pid) + "/fd"
		entries, err := src.readDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, entry := range entries {
			target, err := src.readLink(dir + "/" + entry.Name())
			if err != nil {
				continue
			}
			inode, isSocket := strings.CutPrefix(target, "socket:[")
			inode = strings.TrimSuffix(inode, "]")
			if _, wanted := sockets[inode]; isSocket && wanted {
				owners[inode] = append(owners[inode], p)
			}
		}
	}
	return owners
}
