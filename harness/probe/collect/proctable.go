package collect

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// processTable is one pass over /proc, for everything that is told by process.
type processTable struct {
	processes []process // by pid
	byPID     map[int]int
	lookers   map[string]bool // slices of the users as which the probe and its like are logged in
}

type process struct {
	pid, parent int
	terminal    string // pts/0, ttyS0, or "" without one
	unit        string
	executable  string
	replaced    bool // the executable was deleted since it started
	user        string
	hidden      bool // belongs to those who look, not to what is looked at
}

const (
	flagKernelThread = 0x00200000 // PF_KTHREAD in the kernel's sched.h
	maxProcesses     = 100_000
	maxAncestors     = 64 // pids that were read at different moments may form a circle
	deleted          = " (deleted)"
)

func readProcesses(src *Source) (*processTable, error) {
	entries, err := src.readDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	accounts, _ := src.accounts() // numbers do where names are missing
	t := &processTable{byPID: map[int]int{}, lookers: map[string]bool{}}
	var tooMany error
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if len(t.processes) == maxProcesses {
			tooMany = fmt.Errorf("listing processes: more than %d", maxProcesses)
			break
		}
		if p, ok := readProcess(src, accounts, pid); ok {
			t.processes = append(t.processes, p)
		}
	}
	slices.SortFunc(t.processes, func(a, b process) int { return a.pid - b.pid })
	for i, p := range t.processes {
		t.byPID[p.pid] = i
	}
	t.hide(src.pid)
	return t, tooMany
}

// readProcess reads one process. A kernel thread, a zombie, or one that has just ended is none.
func readProcess(src *Source, accounts *accountDB, pid int) (process, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := src.read(dir+"/stat", maxSmall)
	if err != nil {
		return process{}, false
	}
	p, kernel, ok := parseStat(stat)
	if !ok || kernel {
		return process{}, false
	}
	p.pid = pid
	executable, err := src.readLink(dir + "/exe")
	if err != nil {
		return process{}, false
	}
	p.executable, p.replaced = strings.CutSuffix(executable, deleted)
	if status, err := src.read(dir+"/status", maxSmall); err == nil {
		if uid, ok := parseUID(status); ok {
			p.user = accounts.userName(uid)
		}
	}
	if cgroup, err := src.read(dir+"/cgroup", maxSmall); err == nil {
		p.unit = parseCgroup(cgroup)
	}
	return p, true
}

// parseStat reads /proc/PID/stat. The second field is the program's name in parentheses and may hold anything, so that the
// last parenthesis counts.
func parseStat(data []byte) (p process, kernel, ok bool) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return process{}, false, false
	}
	w := strings.Fields(string(data[end+1:])) // state, ppid, pgrp, session, tty_nr, tpgid, flags
	if len(w) < 7 {
		return process{}, false, false
	}
	parent, errParent := strconv.Atoi(w[1])
	terminal, errTerminal := strconv.Atoi(w[4])
	flags, errFlags := strconv.ParseUint(w[6], 10, 64)
	if errors.Join(errParent, errTerminal, errFlags) != nil {
		return process{}, false, false
	}
	return process{parent: parent, terminal: terminalName(terminal)}, flags&flagKernelThread != 0, true
}

// terminalName names a terminal by its device number, as the kernel's devices.txt does.
func terminalName(number int) string {
	major, minor := number>>8&0xfff, number&0xff|number>>12&0xfff00
	switch {
	case number == 0:
		return ""
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	case major == 229:
		return fmt.Sprintf("hvc%d", minor)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

func parseUID(status []byte) (uint32, bool) {
	_, rest, found := bytes.Cut(status, []byte("\nUid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	w := strings.Fields(string(line)) // real, effective, saved, file system
	if !found || len(w) < 2 {
		return 0, false
	}
	uid, err := strconv.ParseUint(w[1], 10, 32)
	return uint32(uid), err == nil
}

// parseCgroup returns the unit that a process belongs to: the first part of its control group that is not a slice, as
// systemd itself reads it. All login sessions of a user count as the user's slice, for their numbers never repeat.
func parseCgroup(data []byte) string {
	for line := range strings.Lines(string(data)) {
		hierarchy, group, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, group, _ := strings.Cut(group, ":")
		if hierarchy == "0" || controllers == "name=systemd" {
			return unitOfGroup(group)
		}
	}
	return noUnit
}

// noUnit stands for the unit of a process that has none.
const noUnit = "-"

func unitOfGroup(group string) string {
	slice := noUnit
	for part := range strings.SplitSeq(strings.Trim(group, "/"), "/") {
		switch {
		case part == "":
			return slice
		case strings.HasSuffix(part, ".slice"):
			slice = part
		case strings.HasPrefix(part, "session-") && strings.HasSuffix(part, ".scope"):
			return slice
		default:
			return part
		}
	}
	return slice
}

// hide marks who looks: the probe with the login that runs it, every other login without a terminal, which is a machine's,
// the jobs' supervisors, and the user manager that such a login has brought up. Only what they started and left behind counts.
// udev's workers, which live for seconds, are hidden too: their number is chance. So is what the initramfs left behind.
func (t *processTable) hide(self int) {
	for i := range t.processes {
		p := &t.processes[i]
		if t.isLogin(*p) && !t.hasTerminal(p.pid) || strings.HasPrefix(p.executable, probeFiles) || t.isUdevWorker(*p) || isLeftOver(*p) {
			p.hidden = true
		}
	}
	pid := self
	for range maxAncestors {
		i, known := t.byPID[pid]
		// The process that systemd started is the ssh server's listener, which is the guest's, unless each login has its own.
		if !known || t.processes[i].parent <= 1 && !isLoginUnit(t.processes[i].unit) && !inSession(t.processes[i].unit) {
			break
		}
		t.processes[i].hidden = true
		pid = t.processes[i].parent
	}
	for i := range t.processes {
		if p := &t.processes[i]; !p.hidden && t.hasHiddenAncestor(*p) {
			p.hidden = true
		}
		if p := t.processes[i]; p.hidden && strings.HasPrefix(p.unit, "user-") {
			t.lookers[p.unit] = true
		}
	}
	for i := range t.processes {
		if p := &t.processes[i]; t.lookers[userSlice(p.unit)] {
			p.hidden = true
		}
	}
}

// userSlice returns user-UID.slice for a user's manager, else "".
func userSlice(unit string) string {
	uid, isManager := strings.CutPrefix(unit, "user@")
	if !isManager {
		return ""
	}
	return "user-" + strings.TrimSuffix(uid, ".service") + ".slice"
}

// isLogin recognises the process that the ssh server made for a login.
func (t *processTable) isLogin(p process) bool {
	parent, known := t.byPID[p.parent]
	return isSSHServer(p.executable) &&
		(known && isSSHServer(t.processes[parent].executable) || isLoginUnit(p.unit) || inSession(p.unit))
}

// inSession says whether a process belongs to somebody's login. The ssh server's part of a login stays when the listener,
// its parent, is restarted: then only its unit tells what it is.
func inSession(unit string) bool { return strings.HasPrefix(unit, "user-") }

// isLeftOver recognises a process of the initramfs that outlived it: on a slow machine the udev there does not always end
// in time. All its files are gone with the initramfs, no update is to blame, and nothing but a reboot ends it.
func isLeftOver(p process) bool { return p.unit == "init.scope" && p.pid != 1 && p.replaced }

// isUdevWorker recognises a child that udev made of itself.
func (t *processTable) isUdevWorker(p process) bool {
	parent, known := t.byPID[p.parent]
	switch path.Base(p.executable) {
	case "udevadm", "systemd-udevd":
		return known && t.processes[parent].executable == p.executable
	}
	return false
}

func isSSHServer(executable string) bool {
	switch path.Base(executable) {
	case "sshd", "sshd-session", "sshd-auth":
		return true
	}
	return false
}

// isLoginUnit recognises the unit that a socket-activated ssh server gets for each connection.
func isLoginUnit(unit string) bool {
	return (strings.HasPrefix(unit, "ssh@") || strings.HasPrefix(unit, "sshd@")) && strings.HasSuffix(unit, ".service")
}

// hasTerminal says whether a process or one below it has a terminal.
func (t *processTable) hasTerminal(root int) bool {
	return slices.ContainsFunc(t.processes, func(p process) bool {
		return p.terminal != "" && t.climb(p, func(q process) bool { return q.pid == root })
	})
}

func (t *processTable) hasHiddenAncestor(p process) bool {
	return t.climb(p, func(q process) bool { return q.hidden })
}

// climb says whether a process or one of its ancestors is wanted.
func (t *processTable) climb(p process, wanted func(process) bool) bool {
	for range maxAncestors {
		if wanted(p) {
			return true
		}
		i, known := t.byPID[p.parent]
		if !known {
			return false
		}
		p = t.processes[i]
	}
	return false
}

// visible returns the processes that facts are about.
func (t *processTable) visible(yield func(process) bool) {
	for _, p := range t.processes {
		if !p.hidden && !yield(p) {
			return
		}
	}
}
