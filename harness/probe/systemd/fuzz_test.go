package systemd

import (
	"strings"
	"testing"
)

func FuzzUnits(f *testing.F) {
	f.Add("nginx.service loaded active running A web server\nbad\n\nx.mount not-found inactive dead x.mount\n")
	f.Fuzz(func(t *testing.T, output string) {
		for _, u := range parseUnits(output) {
			if u.Name == "" || u.Load == "" || u.Active == "" || u.Sub == "" || strings.ContainsAny(u.Name, " \n") {
				t.Errorf("not a unit: %+v", u)
			}
			typeInterface(u.Name)
		}
	})
}
