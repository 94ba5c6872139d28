package judge

import (
	"regexp"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
)

// dataReason is why nobody is asked about what happens to data.
const dataReason = "data of a running system"

// authorizedKeys says who may log in as somebody, wherever that somebody's home is.
var authorizedKeys = regexp.MustCompile(`/\.ssh/authorized_keys2?$`)

func isAuthorizedKeys(d drift.Drift) bool {
	return authorizedKeys.MatchString(d.Key.Name) && d.Change != drift.Removed && d.Is["sha256"]+d.Is["target"] != ""
}

// IsData tells whether a path that no package owns is for what programs and people keep, which changes all the time. Jobs of cron
// and what dpkg does on behalf of a package are no data.
func IsData(name string) bool {
	for _, system := range []string{"/var/spool/cron/", "/var/lib/dpkg/info/"} {
		if strings.HasPrefix(name, system) {
			return false
		}
	}
	for _, data := range []string{
		"/var/", "/home/", "/srv/", "/tmp/", "/mnt/", "/media/", "/lost+found/",
		"/root/.rpmdb/", "/usr/lib/sysimage/rpm/", // what rpm has installed, as dpkg keeps it below /var: on Debian, on Fedora and SUSE
	} {
		if strings.HasPrefix(name, data) {
			return true
		}
	}
	return false
}
