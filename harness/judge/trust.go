package judge

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

// trustStore is where the certificates lie that programs trust. What is in it is made by update-ca-certificates: a link for
// each authority, another by the hash of its name, and a file with all of them.
const trustStore = "/etc/ssl/certs"

// isTrust tells whether a file, which no package owns, is part of the trust store or of the choice of what goes into it.
func isTrust(name string) bool {
	return path.Dir(name) == trustStore || name == "/etc/ca-certificates.conf" || name == "/etc/ca-certificates.conf.dpkg-old"
}

// ruleTrust makes one statement of the many files in which an authority comes or goes, which the first of them carries.
func (h *hearing) ruleTrust(d drift.Drift) ruling {
	all := h.trustDrifts()
	if first := all[0].Key; first != d.Key {
		return follows(first)
	}
	gone, added := map[string]bool{}, map[string]bool{}
	for _, t := range all {
		gone[authority(t.Key.Name, t.Was)] = true
		added[authority(t.Key.Name, t.Is)] = true
	}
	delete(gone, "")
	delete(added, "")
	f := warn("PL405", d, "what the guest trusts was changed")
	if len(gone)+len(added) > 0 {
		f.Title = fmt.Sprintf("the guest trusts %s more, and %s no longer", count(len(added)), count(len(gone)))
	}
	f.Subject = fact.Key{Kind: fact.KindFile, Name: trustStore}
	f.Was, f.Is = sorted(gone), sorted(added)
	if increment, moved := h.moved["ca-certificates"]; moved {
		f.Package, f.Cause = "ca-certificates", "increment "+increment+" moved ca-certificates"
	}
	return finding(f)
}

// trustDrifts lists the drifts of the trust store that nothing excuses, in order.
func (h *hearing) trustDrifts() []drift.Drift {
	var all []drift.Drift
	for key, d := range h.drifts {
		if key.Kind != fact.KindFile || !isTrust(key.Name) || h.ownerOf(key) != "" {
			continue
		}
		if _, put := h.put[key.Name]; put {
			continue
		}
		if _, allowed := h.allowance(d); !allowed && !h.unpatchedAt(h.Mode).volatile.Explains(d) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b drift.Drift) int { return a.Key.Compare(b.Key) })
	return all
}

// authority names what one side of a drift stands for: the target's name, which the link by hash shares with the other. A
// file that only changed its content stands for none.
func authority(name string, attributes map[string]string) string {
	base := attributes["target"]
	if base == "" && attributes["type"] == "file" && strings.HasSuffix(name, ".pem") {
		base = name
	}
	if base == "" {
		return ""
	}
	return strings.TrimSuffix(path.Base(base), path.Ext(base))
}

func count(authorities int) string {
	if authorities == 1 {
		return "1 authority"
	}
	return fmt.Sprintf("%d authorities", authorities)
}

func sorted(names map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
