package judge

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/verdict"
)

// protections are the kernel's settings that keep somebody out, and which way is weaker.
var protections = []struct {
	name  *regexp.Regexp
	lower bool // weaker
}{
	{regexp.MustCompile(`^kernel\.(kptr_restrict|dmesg_restrict|randomize_va_space|unprivileged_bpf_disabled|perf_event_paranoid|kexec_load_disabled|modules_disabled)$`), true},
	{regexp.MustCompile(`^kernel\.yama\.ptrace_scope$`), true},
	{regexp.MustCompile(`^fs\.protected_(hardlinks|symlinks|fifos|regular)$`), true},
	{regexp.MustCompile(`^net\.core\.bpf_jit_harden$`), true},
	{regexp.MustCompile(`^net\.ipv4\.(tcp_syncookies|icmp_echo_ignore_broadcasts)$`), true},
	{regexp.MustCompile(`^net\.ipv[46]\.conf\.[^ ]+\.(accept_redirects|accept_source_route)$`), false},
	{regexp.MustCompile(`^net\.ipv4\.(ip_forward|conf\.[^ ]+\.send_redirects)$`), false},
	{regexp.MustCompile(`^(fs\.suid_dumpable|kernel\.sysrq|kernel\.unprivileged_userns_clone)$`), false},
}

// weakens tells whether a setting protects less than it did.
func weakens(name, was, is string) bool {
	before, errBefore := strconv.Atoi(was)
	now, errNow := strconv.Atoi(is)
	if errBefore != nil || errNow != nil {
		return false
	}
	for _, p := range protections {
		if p.name.MatchString(name) {
			return p.lower && now < before || !p.lower && now > before
		}
	}
	return false
}

// sized are settings that the kernel derives from the machine's memory and processors.
var sized = regexp.MustCompile(`^(kernel\.(threads-max|pid_max|sched_|watchdog|nmi_watchdog|perf_event|numa_|panic_on|core_|printk|acpi|hung_task)|` +
	`vm\.(min_free_kbytes|user_reserve_kbytes|admin_reserve_kbytes|lowmem_reserve_ratio|nr_hugepages)|` +
	`fs\.(file-max|nr_open|epoll\.|inotify\.|fanotify\.)|` +
	`net\.(ipv4\.(tcp_mem|udp_mem|tcp_rmem|tcp_wmem|tcp_max_|ip_local_reserved|inet_peer)|ipv6\.route\.|netfilter\.|core\.(bpf_jit_limit|netdev_|rps_|flow_limit)))`)

// derivedAnew tells whether a setting is what the kernel made of the memory that was free at another start: nearly the same.
func derivedAnew(name, was, is string) bool {
	const most = 0.1 // of a value
	before, now := strings.Fields(was), strings.Fields(is)
	if !sized.MatchString(name) || len(before) != len(now) {
		return false
	}
	for i := range before {
		a, errA := strconv.ParseFloat(before[i], 64)
		b, errB := strconv.ParseFloat(now[i], 64)
		if errA != nil || errB != nil || math.Abs(a-b) > most*max(a, b) {
			return false
		}
	}
	return true
}

func (h *hearing) ruleSysctl(d drift.Drift) ruling {
	was, hadValue := d.Was["value"]
	is, hasValue := d.Is["value"]
	switch {
	case d.Change != drift.Changed:
		return volatile("settings come and go with the modules and the links that have them")
	case h.Rebooted && derivedAnew(d.Key.Name, was, is):
		return volatile("the kernel derives it from the memory that is free at its start")
	case hadValue && hasValue && weakens(d.Key.Name, was, is):
		return finding(fault("PL401", d, d.Key.Name+" is "+is+" now, and was "+was+": it protects less"))
	case hadValue && hasValue && h.isKernelsOwn(d):
		f := note("PL307", d, d.Key.Name+" is "+is+" now, and was "+was)
		f.Cause = "another kernel runs, with other defaults; no file of sysctl.d sets it"
		return finding(f)
	case hadValue && hasValue:
		return finding(warn("PL307", d, d.Key.Name+" is "+is+" now, and was "+was))
	}
	if hadValue != hasValue && d.Was["configured"] == d.Is["configured"] {
		return volatile("a kernel tells it, or does not")
	}
	current, _ := h.Facts.Get(d.Key.Kind, d.Key.Name)
	if next, isSet := d.Is["configured"]; isSet && weakens(d.Key.Name, current.Attribute("value"), next) {
		return finding(fault("PL401", d, d.Key.Name+" will be "+next+" after the next boot, and is "+current.Attribute("value")+": it will protect less"))
	}
	return finding(note("PL307", d, "the files of sysctl.d say something else of "+d.Key.Name))
}

// isKernelsOwn tells whether a setting is what a kernel that did not run before makes it, and nobody has set it.
func (h *hearing) isKernelsOwn(d drift.Drift) bool {
	current, _ := h.Facts.Get(d.Key.Kind, d.Key.Name)
	return h.drifts[fact.Key{Kind: fact.KindKernel, Name: "running"}].Is["release"] != "" && current.Attribute("configured") == ""
}

func (h *hearing) ruleAddress(d drift.Drift) ruling {
	isLent := d.Was["dynamic"] != "" || d.Is["dynamic"] != ""
	if _, prefix, _ := strings.Cut(d.Key.Name, " "); isLent && strings.Contains(prefix, ":") {
		return volatile("a router lends it, when it next says so")
	}
	switch d.Change {
	case drift.Removed:
		return finding(fault("PL204", d, "the address "+d.Key.Name+" is gone"))
	case drift.Added:
		return finding(warn("PL204", d, "there is an address that was not there before: "+d.Key.Name))
	default:
		return finding(statement(verdict.Info, "PL204", d, "the address "+d.Key.Name+" comes from somewhere else now"))
	}
}
