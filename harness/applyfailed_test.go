package harness_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/verdict"
)

const scriptFails = `Setting up agent (2.0) ...
agent: registering
agent: no licence, giving up
dpkg: error processing package agent (--configure):
 installed agent package post-installation script subprocess returned error exit status 1
Errors were encountered while processing:
 agent
E: Sub-process /usr/bin/dpkg returned an error code (1)
`

const asks = `Setting up relayd (1.1) ...

Configuration file '/etc/relayd.conf'
 ==> Modified (by you or by a script) since installation.
 ==> Package distributor has shipped an updated version.
   What would you like to do about it ?  Your options are:
    Y or I  : install the package maintainer's version
    N or O  : keep your currently-installed version
*** relayd.conf (Y/I/N/O/D/Z) [default=N] ? dpkg: error processing package relayd (--configure):
 end of file on stdin at conffile prompt
Errors were encountered while processing:
 relayd
`

const bootIsFull = `update-initramfs: Generating /boot/initrd.img-6.1.0-51-amd64
zstd: error 70 : Write error : cannot write block : No space left on device
E: mkinitramfs failure zstd 70
update-initramfs: failed for /boot/initrd.img-6.1.0-51-amd64 with 1.
run-parts: /etc/kernel/postinst.d/initramfs-tools exited with return code 1
dpkg: error processing package linux-image-6.1.0-51-amd64 (--configure):
 installed linux-image-6.1.0-51-amd64 package post-installation script subprocess returned error exit status 1
`

func TestAnIncrementThatDoesNotInstallQuotesWhatSaysWhy(t *testing.T) {
	tests := []struct {
		name, output string
		want         map[string]string   // title by id
		lines        map[string][]string // quoted
	}{
		{
			"a maintainer script fails", scriptFails,
			map[string]string{"PL503": "agent: installed agent package post-installation script subprocess returned error exit status 1"},
			map[string][]string{"PL503": {
				"agent: registering", "agent: no licence, giving up", "dpkg: error processing package agent (--configure):",
				" installed agent package post-installation script subprocess returned error exit status 1",
			}},
		},
		{
			"a question that nobody answers", asks,
			map[string]string{"PL503": "relayd: end of file on stdin at conffile prompt", "PL302": ""},
			nil,
		},
		{
			"no room for an initrd", bootIsFull,
			map[string]string{
				"PL503": "linux-image-6.1.0-51-amd64: installed linux-image-6.1.0-51-amd64 package post-installation script subprocess returned error exit status 1",
				"PL704": "",
			},
			map[string][]string{"PL704": strings.Split(bootIsFull, "\n")[1:6]},
		},
		{
			"no room for something else", "cp: error writing '/srv/a': No space left on device\n",
			map[string]string{"PL503": ""},
			nil,
		},
		{
			"a script of the scenario's own", "one\ntwo\n",
			map[string]string{"PL503": ""},
			map[string][]string{"PL503": {"one", "two"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				lab.exitCode, lab.output = 100, tt.output
				lab.onApply["bad"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
				result := lab.run(scripted("bad"))
				if result.Outcome != verdict.ApplyFailed {
					t.Fatalf("outcome %s (%s)", result.Outcome, result.Reason)
				}
				causes := map[string]string{}
				for _, f := range result.Findings {
					causes[f.ID] = f.Cause
					if want := tt.lines[f.ID]; want != nil {
						if diff := cmp.Diff(want, f.Evidence[0].Lines); diff != "" {
							t.Errorf("lines that %s quotes (-want +got):\n%s", f.ID, diff)
						}
					}
					if f.ID == "PL302" && (f.Subject.Name != "/etc/relayd.conf" || f.Evidence[0].Lines[0] != "Configuration file '/etc/relayd.conf'") {
						t.Errorf("the question is told as %+v", f)
					}
				}
				if diff := cmp.Diff(tt.want, causes); diff != "" {
					t.Errorf("causes (-want +got):\n%s", diff)
				}
			})
		})
	}
}
