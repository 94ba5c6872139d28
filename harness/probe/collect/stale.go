package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// stale reads which processes run code that is no longer on the disk: a deleted file, or one that was replaced.
func stale(ctx context.Context, src *Source) ([]fact.Fact, error) {
	table, err := src.table()
	if table == nil {
		return nil, err
	}
	var errs []error
	groups := map[string]*crowd{}
	s := staleSearch{src: src, seen: map[mapping]bool{}}
	for p := range table.visible {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading mappings: %w", context.Cause(ctx))
		}
		old, err := s.files(p)
		errs = append(errs, err)
		for _, file := range old {
			name := protocol.CleanWord(p.unit) + " " + protocol.CleanWord(p.executable) + " " + protocol.CleanWord(file)
			join(groups, name, p)
		}
	}
	facts := make([]fact.Fact, 0, len(groups))
	for name, g := range groups {
		facts = append(facts, fact.Fact{Kind: fact.KindStale, Name: name, Attributes: g.attributes()})
	}
	return facts, errors.Join(errs...)
}

// mapping is a file that a process executes from.
type mapping struct {
	device, inode uint64
	path          string
	deleted       bool
}

// staleSearch remembers what it found out about a mapping: most processes share the same libraries.
type staleSearch struct {
	src  *Source
	seen map[mapping]bool
}

// files returns the distinct files that a process maps and that are no longer what their path leads to.
func (s *staleSearch) files(p process) ([]string, error) {
	data, err := s.src.read("/proc/"+strconv.Itoa(p.pid)+"/maps", maxProcFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) { // it has ended
			return nil, nil
		}
		return nil, err
	}
	var old []string
	last := mapping{}
	note := func(path string) {
		if !slices.Contains(old, path) {
			old = append(old, path)
		}
	}
	if p.replaced {
		note(p.executable)
	}
	for line := range bytes.Lines(data) {
		m, ok := parseMapping(line)
		if !ok || m == last {
			continue
		}
		last = m
		if m.deleted || s.replaced(m, p.pid) {
			note(m.path)
		}
	}
	return old, nil
}

// parseMapping reads a line of /proc/PID/maps, where it is executable code of a file: address, permissions, offset, device,
// inode, path.
func parseMapping(line []byte) (mapping, bool) {
	i := bytes.IndexByte(line, ' ')
	if i < 0 || len(line) < i+5 || line[i+3] != 'x' {
		return mapping{}, false
	}
	slash := i + bytes.IndexByte(line[i:], '/')
	if slash < i {
		return mapping{}, false
	}
	w := bytes.Fields(line[i+1 : slash]) // permissions, offset, device, inode
	if len(w) != 4 {
		return mapping{}, false
	}
	major, minor, _ := bytes.Cut(w[2], []byte(":"))
	high, errHigh := strconv.ParseUint(string(major), 16, 32)
	low, errLow := strconv.ParseUint(string(minor), 16, 32)
	inode, errInode := strconv.ParseUint(string(w[3]), 10, 64)
	if errors.Join(errHigh, errLow, errInode) != nil || inode == 0 {
		return mapping{}, false
	}
	path, gone := strings.CutSuffix(string(bytes.TrimSuffix(line[slash:], []byte("\n"))), deleted)
	m := mapping{device: unix.Mkdev(uint32(high), uint32(low)), inode: inode, path: path, deleted: gone}
	return m, !memoryOnly(path)
}

// memoryOnly recognises what looks like a file and never was on a disk.
func memoryOnly(path string) bool {
	for _, prefix := range []string{"/dev/zero", "/memfd:", "/SYSV", "/dev/shm/", "/drm", "/i915", "/anon_hugepage", "/[aio]"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// replaced says whether another file is now at a mapping's path: renamed over it where the kernel did not notice, as
// on network file systems. It compares only on the same device: overlays and btrfs show one to stat and another in maps.
func (s *staleSearch) replaced(m mapping, pid int) bool {
	old, known := s.seen[m]
	if known && !old {
		return false
	}
	old = s.differs(m.path, m) && s.differs("/proc/"+strconv.Itoa(pid)+"/root"+m.path, m)
	s.seen[m] = old
	return old
}

func (s *staleSearch) differs(path string, m mapping) bool {
	var stat unix.Stat_t
	if err := unix.Stat(s.src.path(path), &stat); err != nil {
		return false
	}
	return stat.Dev == m.device && stat.Ino != m.inode
}
