package judge

import (
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/drift"
	"github.com/patchlab/patchlab/harness/fact"
)

// firstPerson is the first uid that Debian gives to people (adduser.conf FIRST_UID).
const firstPerson = 1000

func (h *hearing) ruleUser(d drift.Drift) ruling {
	account, _ := h.Facts.Get(fact.KindUser, d.Key.Name)
	switch {
	case d.Change == drift.Removed:
		return finding(warn("PL403", d, "account "+d.Key.Name+" is gone"))
	case d.Change == drift.Added && isSystemAccount(account) && len(h.moved) > 0:
		return expected("a system account without login, made by a package")
	case d.Change == drift.Added:
		return finding(fault("PL403", d, "account "+d.Key.Name+" appeared"))
	default:
		return finding(fault("PL403", d, "account "+d.Key.Name+" was changed"))
	}
}

// isSystemAccount tells whether nobody can log in with the account, and it is not root by another name.
func isSystemAccount(f fact.Fact) bool {
	uid, err := strconv.Atoi(f.Attribute("uid"))
	shell := f.Attribute("shell")
	noLogin := strings.HasSuffix(shell, "/nologin") || strings.HasSuffix(shell, "/false")
	return err == nil && uid > 0 && uid < firstPerson && noLogin && f.Attribute("locked") != "false"
}
