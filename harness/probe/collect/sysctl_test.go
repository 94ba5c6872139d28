package collect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

func TestSysctlsAreReadWithWhatABootSets(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"/proc/sys/kernel/kptr_restrict":                "1\n",
		"/proc/sys/kernel/hostname":                     "web\n",
		"/proc/sys/kernel/ns_last_pid":                  "812\n",
		"/proc/sys/kernel/osrelease":                    "6.1\n",
		"/proc/sys/kernel/random/boot_id":               "0b0e\n",
		"/proc/sys/vm/swappiness":                       "60\n",
		"/proc/sys/net/ipv4/tcp_rmem":                   "4096\t131072\t6291456\n",
		"/proc/sys/net/ipv6/conf/all/stable_secret":     "2001::1\n",
		"/proc/sys/fs/binfmt_misc/status":               "enabled\n",
		"/proc/sys/net/ipv4/conf/eth0.1/rp_filter":      "2\n",
		"/usr/lib/sysctl.d/50-default.conf":             "-kernel.kptr_restrict = 0\nnet.ipv4.conf.*.rp_filter = 1\n",
		"/usr/lib/sysctl.d/60-more.conf":                "vm.swappiness = 1\n",
		"/etc/sysctl.d/60-more.conf":                    "; ours\n# own\nvm/swappiness=10\nnet/ipv4/conf/eth0.1/rp_filter = 0\nnonsense\n",
		"/etc/sysctl.conf":                              "net.ipv4.tcp_rmem = 4096   131072 \t6291456\n",
		"/run/sysctl.d/ignored.txt":                     "vm.swappiness = 99\n",
		"/proc/sys/kernel/sched_domain/cpu0/domain0/x":  "1\n",
		"/proc/sys/net/ipv4/neigh/eth0/gc_stale_time":   "60\n",
		"/proc/sys/kernel/usermodehelper/inheritable":   "1\n",
		"/proc/sys/fs/inode-nr":                         "1 2\n",
		"/proc/sys/user/max_user_namespaces":            "3000\n",
		"/proc/sys/kernel/sched_domain_flags_unrelated": "0\n",
	})
	chmod(t, root, "/proc/sys/kernel/osrelease", 0o444)
	want := []fact.Fact{
		named("sysctl", "kernel.kptr_restrict", "value", "1", "configured", "0"),
		named("sysctl", "kernel.sched_domain_flags_unrelated", "value", "0"),
		named("sysctl", "net.ipv4.conf.eth0.1.rp_filter", "value", "2", "configured", "0"),
		named("sysctl", "net.ipv4.tcp_rmem", "value", "4096 131072 6291456", "configured", "4096 131072 6291456"),
		named("sysctl", "vm.swappiness", "value", "60", "configured", "10"),
	}
	if diff := cmp.Diff(want, collected(t, NewSource(root, nil, 0), sysctls)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestASettingThatIsTooLongIsLeftOutAndNotTorn(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"/proc/sys/kernel/whole": strings.Repeat("1", maxSysctl),
		"/proc/sys/kernel/torn":  strings.Repeat("1", maxSysctl+1),
	})
	want := []fact.Fact{named("sysctl", "kernel.whole", "value", strings.Repeat("1", maxSysctl))}
	if diff := cmp.Diff(want, collected(t, NewSource(root, nil, 0), sysctls)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}
