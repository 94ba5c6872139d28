package collect

import (
	"context"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
)

// users reads the accounts.
func users(_ context.Context, src *Source) ([]fact.Fact, error) {
	db, err := src.accounts()
	facts := make([]fact.Fact, 0, len(db.users))
	for _, u := range db.users {
		facts = append(facts, fact.Fact{Kind: fact.KindUser, Name: u.name, Attributes: map[string]string{
			"uid":    strconv.FormatUint(uint64(u.uid), 10),
			"gid":    strconv.FormatUint(uint64(u.gid), 10),
			"home":   u.home,
			"shell":  u.shell,
			"groups": strings.Join(u.groups, ","),
			"locked": u.locked,
		}})
	}
	return facts, err
}
