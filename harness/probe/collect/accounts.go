package collect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// accountDB is what /etc/passwd, /etc/group and /etc/shadow say; of the last only who has a lock.
type accountDB struct {
	users  []account
	names  map[uint32]string
	groups map[uint32]string
}

type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []string
	locked            string // "true", "false", or "" where there is no shadow entry
}

// userName returns the name of a user, or the number of one without a name.
func (db *accountDB) userName(uid uint32) string { return nameOf(db.names, uid) }

// groupName returns the name of a group, or the number of one without a name.
func (db *accountDB) groupName(gid uint32) string { return nameOf(db.groups, gid) }

func nameOf(names map[uint32]string, id uint32) string {
	if name, ok := names[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

// readAccounts never returns nil: what it could not read is missing in it.
func readAccounts(src *Source) (*accountDB, error) {
	db := &accountDB{names: map[uint32]string{}, groups: map[uint32]string{}}
	passwd, err := src.read("/etc/passwd", maxDatabase)
	if err != nil {
		return db, fmt.Errorf("reading accounts: %w", err)
	}
	db.users = parsePasswd(passwd)
	group, errGroup := src.read("/etc/group", maxDatabase)
	members := parseGroups(group, db.groups)
	shadow, errShadow := src.read("/etc/shadow", maxDatabase)
	if errors.Is(errShadow, fs.ErrNotExist) {
		errShadow = nil
	}
	locked := parseLocks(shadow)
	for i := range db.users {
		u := &db.users[i]
		if _, taken := db.names[u.uid]; !taken { // as getpwuid: the first entry names the number
			db.names[u.uid] = u.name
		}
		u.locked = locked[u.name]
		u.groups = append([]string{db.groupName(u.gid)}, members[u.name]...)
		slices.Sort(u.groups)
		u.groups = slices.Compact(u.groups)
	}
	return db, errors.Join(errGroup, errShadow)
}

func parsePasswd(data []byte) []account {
	var users []account
	for fields := range colonLines(data, 7) {
		uid, errUID := strconv.ParseUint(fields[2], 10, 32)
		gid, errGID := strconv.ParseUint(fields[3], 10, 32)
		if errUID != nil || errGID != nil || fields[0] == "" {
			continue
		}
		users = append(users, account{
			name: fields[0], uid: uint32(uid), gid: uint32(gid), home: fields[5], shell: fields[6],
		})
	}
	return users
}

// parseGroups fills the groups' names and returns the groups of each user that is listed as a member.
func parseGroups(data []byte, names map[uint32]string) map[string][]string {
	members := map[string][]string{}
	for fields := range colonLines(data, 4) {
		gid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil || fields[0] == "" {
			continue
		}
		if _, taken := names[uint32(gid)]; !taken {
			names[uint32(gid)] = fields[0]
		}
		for user := range strings.SplitSeq(fields[3], ",") {
			if user != "" {
				members[user] = append(members[user], fields[0])
			}
		}
	}
	return members
}

// parseLocks says of each user whether no password fits. It looks at the first byte of the hash and forgets it.
func parseLocks(data []byte) map[string]string {
	locks := map[string]string{}
	for fields := range colonLines(data, 2) {
		hash := fields[1]
		locks[fields[0]] = strconv.FormatBool(strings.HasPrefix(hash, "!") || strings.HasPrefix(hash, "*"))
	}
	return locks
}

// colonLines yields the fields of every line that has at least so many.
func colonLines(data []byte, least int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range bytes.Lines(data) {
			fields := strings.Split(strings.TrimRight(string(line), "\n"), ":")
			if len(fields) >= least && !yield(fields) {
				return
			}
		}
	}
}
