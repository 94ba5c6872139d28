package restart_test

import (
	"strings"
	"testing"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/restart"
)

// FuzzCommand holds the command that restarts what a guest names to one thing: no name gets out of its quotes.
func FuzzCommand(f *testing.F) {
	f.Add("nginx.service /usr/sbin/nginx /usr/lib/libssl.so.3", "failed nginx.service\n")
	f.Add("a';reboot;'.service /x /y", "failed \n")
	f.Add("init.scope /usr/lib/systemd/systemd /usr/lib/libcrypto.so.3", "")
	f.Fuzz(func(t *testing.T, stale, output string) {
		plan := restart.Advise(fact.NewSet(fact.Fact{Kind: fact.KindStale, Name: stale}))
		var outside strings.Builder
		for i, part := range strings.Split(plan.Command(), "'") {
			if i%2 == 0 {
				outside.WriteString(part)
			}
		}
		rest := strings.NewReplacer("systemctl restart -- ", "", "systemctl daemon-reexec", "", " || echo ", "", "; ", "").Replace(outside.String())
		if rest != "" {
			t.Errorf("outside of the quotes of %q stands %q", plan.Command(), rest)
		}
		for _, unit := range restart.Failed(output) {
			if strings.Contains(unit, "\n") {
				t.Errorf("not a unit: %q", unit)
			}
		}
	})
}
