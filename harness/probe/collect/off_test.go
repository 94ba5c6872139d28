package collect

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestASystemThatIsOffIsNotTakenForTheOneThatReadsIt has a kernel and processes in /proc, which are another's.
func TestASystemThatIsOffIsNotTakenForTheOneThatReadsIt(t *testing.T) {
	root := tree(t, map[string]string{
		"/proc/sys/kernel/osrelease": "6.1-of-the-helper\n", "/proc/cmdline": "rdinit=/init\n", "/proc/1/stat": "1 (init) S",
		"/boot/vmlinuz-6.1.0-44-amd64": "kernel", "/boot/grub/grub.cfg": grubConfig(t, "0"),
		"/usr/lib/systemd/system/web.service":                     "[Service]\nExecStart=/bin/web\n[Install]\nWantedBy=multi-user.target\n",
		"/usr/lib/systemd/system/idle.service":                    "[Service]\nExecStart=/bin/idle\n[Install]\nWantedBy=multi-user.target\n",
		"/etc/systemd/system/multi-user.target.wants/web.service": "-> /usr/lib/systemd/system/web.service",
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "/etc/group": "root:x:0:\n", "/etc/shadow": "root:*:1:0:99999:7:::\n",
	})
	doc, _ := Run(t.Context(), NewSource(root, nil, 1), Off(), fixedClock)
	got := map[string]map[string]string{}
	for _, f := range doc.Facts.All() {
		if f.Kind != "file" && f.Kind != "user" {
			got[string(f.Kind)+" "+f.Name] = f.Attributes
		}
	}
	const dir = "/usr/lib/systemd/system/"
	want := map[string]map[string]string{
		"unit web.service":                {"fragment": dir + "web.service", "enabled": "enabled", "type": "simple"},
		"unit idle.service":               {"fragment": dir + "idle.service", "enabled": "disabled", "type": "simple"},
		"kernel installed:6.1.0-44-amd64": {"release": "6.1.0-44-amd64", "image": "/boot/vmlinuz-6.1.0-44-amd64"},
		"kernel default": {
			"release": "6.1.0-50-amd64", "image": "/boot/vmlinuz-6.1.0-50-amd64", "initrd": "/boot/initrd.img-6.1.0-50-amd64",
			"cmdline": "root=UUID=d5 ro quiet", "entry": "Debian GNU/Linux",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
