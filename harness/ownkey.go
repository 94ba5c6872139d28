package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// ownKey stands in facts for the content of a file that holds nothing but the key by which the lab logs in.
const ownKey = "the key of the lab"

// WithoutOwnKey makes the same of the key that each clone is handed as of that of another: every booted clone has one of its own, and
// none came with a patch. A file in which anything else stands, too, is told as it is.
func WithoutOwnKey(facts fact.Set, authorizedKey string) fact.Set {
	var changed []fact.Fact
	for _, f := range facts.OfKind(fact.KindFile) {
		if strings.HasSuffix(f.Name, "/.ssh/authorized_keys") && isOnly(f.Attribute("sha256"), authorizedKey) {
			f.Attributes = maps.Clone(f.Attributes)
			f.Attributes["sha256"] = ownKey
			changed = append(changed, f)
		}
	}
	if len(changed) == 0 {
		return facts
	}
	return fact.NewSet(append(slices.Clone(facts.All()), changed...)...)
}

// isOnly says whether a digest is that of a line, with its end or without.
func isOnly(digest, line string) bool {
	for _, content := range []string{line, line + "\n"} {
		if sum := sha256.Sum256([]byte(content)); hex.EncodeToString(sum[:]) == digest {
			return true
		}
	}
	return false
}
