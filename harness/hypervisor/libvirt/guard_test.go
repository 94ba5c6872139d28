package libvirt

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDenialsAreToldWithTheirRemedy has messages as libvirt and QEMU were seen to write them: the texts of AppArmor and
// SELinux on other people's hosts, from their bug reports.
func TestDenialsAreToldWithTheirRemedy(t *testing.T) {
	t.Parallel()
	plain := guard{owner: &Owner{Name: "with the id 64055", UID: 64055, GID: 107}}
	apparmored, selinuxed := guard{models: []string{"apparmor"}}, guard{models: []string{"selinux"}}
	const monitor = "internal error: process exited while connecting to monitor: 2017-02-14T00:37:50.691878Z qemu-system-x86_64: "
	for text, test := range map[string]struct {
		guard guard
		want  string // "" for no denial
	}{
		"internal error: cannot load AppArmor profile 'libvirt-aa58ea57-f6d7-48b1-b727-de97f4c508af'": {apparmored, "grep apparmor"},
		"internal error: Process exited prior to exec: libvirt: Security Labelling error : internal error: error calling aa_change_profile(): " +
			"unable to set AppArmor profile 'libvirt-aa58ea57-f6d7-48b1-b727-de97f4c508af' for '/usr/bin/qemu-system-x86_64'": {apparmored, "grep apparmor"},
		monitor + "-drive file=/srv/rs-vol-0,format=qcow2,if=none,id=drive-virtio-disk0: Could not open '/srv/rs-vol-0': Permission denied": {
			apparmored, "(/srv/rs-vol-0 rk,)",
		},
		monitor + `-blockdev {"driver":"file","filename":"/srv/pl/disk.qcow2"}: Could not open '/srv/pl/disk.qcow2': Permission denied`: {
			selinuxed, "svirt_image_t '/srv/pl(/.*)?'",
		},
		"unable to set security context 'system_u:object_r:svirt_image_t:s0:c219,c373' on '/nfs/pl/disk.qcow2': Operation not permitted": {
			selinuxed, "svirt_image_t '/nfs/pl(/.*)?'",
		},
		"Requested operation is not valid: Setting different SELinux label on /home/build/pooldir/w.linux.qcow2 which is already in use": {
			selinuxed, "SELinux",
		},
		"Cannot access storage file '/root/disk.qcow2' (as uid:64055, gid:107): Permission denied": {plain, "user that QEMU runs as (with the id 64055)"},
		monitor + "-fw_cfg name=opt/x,file=/home/u/master.ign: can't load /home/u/master.ign: Failed to open file “/home/u/master.ign”: Permission denied": {
			plain, "above /home/u/master.ign",
		},
		monitor + "-drive file=/srv/d.qcow2: Could not open '/srv/d.qcow2': No such file or directory": {plain, ""},
		"operation failed: domain 'x' already exists with uuid 1":                                      {apparmored, ""},
	} {
		cause := errors.New(text)
		got := test.guard.explain(cause)
		if !errors.Is(got, cause) {
			t.Errorf("%.60s: the cause is lost: %v", text, got)
		}
		if errors.Is(got, ErrDenied) != (test.want != "") || !strings.Contains(got.Error(), test.want) || strings.Contains(got.Error(), "\n") {
			t.Errorf("%.60s: got %v, want %q", text, got, test.want)
		}
	}
	if plain.explain(nil) != nil {
		t.Error("no error is explained")
	}
}

func TestWhatGuardsFilesIsReadFromLibvirt(t *testing.T) {
	t.Parallel()
	const capabilities = `<capabilities><host><secmodel><model>apparmor</model><doi>0</doi></secmodel>
		<secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+64055:+107</baselabel><baselabel type='qemu'>+64055:+107</baselabel></secmodel>
		</host></capabilities>`
	want := guard{owner: &Owner{Name: "with the id 64055", UID: 64055, GID: 107}, models: []string{"apparmor"}}
	if diff := cmp.Diff(want, parseGuard(capabilities), cmp.AllowUnexported(guard{})); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "<capabilities/>", `<capabilities><host><secmodel><model>none</model></secmodel>
		<secmodel><model>dac</model><baselabel type='kvm'>+0:+0</baselabel></secmodel></host></capabilities>`} {
		if got := parseGuard(text); got.owner != nil || got.models != nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
