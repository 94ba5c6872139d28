package collect

import (
	"strings"
	"testing"
)

// The fuzz tests hold every parser of a guest's data to one thing above all: it ends, without a panic. What else always
// holds is checked beside it.

func FuzzStatus(f *testing.F) {
	f.Add([]byte(dpkgStatus))
	f.Add([]byte("Package:\n\n\n\nStatus: a b c\n x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		installed, _ := parseStatus(data)
		for _, p := range installed {
			if p.name == "" || p.status == "" || p.status == "config-files" {
				t.Errorf("not an installed package: %+v", p)
			}
		}
		parseExtendedStates(data)
		owners := newOwnership(map[string]bool{"bin": true})
		owners.addList(data, "a:all", parseDiversions(data))
		for line := range strings.SplitSeq(string(data), "\n") {
			if got := owners.of(line); got != "" && !strings.HasPrefix(line, "/") {
				t.Errorf("%q, which is no path, belongs to %s", line, got)
			}
		}
	})
}

func FuzzMapping(f *testing.F) {
	f.Add([]byte(libcryptoDeleted))
	f.Add([]byte(" r-xp /"))
	f.Add([]byte("/ 00x0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if m, ok := parseMapping(line); ok && (m.inode == 0 || !strings.HasPrefix(m.path, "/")) {
			t.Errorf("not a file: %+v", m)
		}
	})
}

func FuzzSockets(f *testing.F) {
	f.Add(machine["/proc/net/tcp"])
	f.Add(machine["/proc/net/unix"])
	f.Fuzz(func(t *testing.T, line string) {
		if _, address, ok := parseSocket(line, "0A"); ok && !strings.Contains(address, ":") {
			t.Errorf("not an address: %q", address)
		}
		if _, path, ok := parseUnixSocket(line); ok && !strings.HasPrefix(path, "/") {
			t.Errorf("not a path: %q", path)
		}
	})
}

func FuzzMount(f *testing.F) {
	f.Add("25 26 0:22 / /run rw shared:5 - tmpfs tmpfs rw,size=1k")
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMount(line); ok && (m.point == "" || m.fstype == "") {
			t.Errorf("not a mount: %+v", m)
		}
	})
}

func FuzzAccounts(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/bash\nroot:$6$abc:1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, u := range parsePasswd(data) {
			if u.name == "" {
				t.Errorf("an account without a name: %+v", u)
			}
		}
		parseGroups(data, map[uint32]string{})
		for _, locked := range parseLocks(data) {
			if locked != "true" && locked != "false" {
				t.Errorf("a lock that tells more than that: %q", locked)
			}
		}
	})
}

func FuzzProcess(f *testing.F) {
	f.Add([]byte("5 (a) b) S 1 1 1 34819 -1 4194304 0\n"))
	f.Add([]byte("0::/system.slice/a.service\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseStat(data)
		parseUID(data)
		if parseCgroup(data) == "" {
			t.Error("a process of no unit, without even the sign for that")
		}
	})
}

func FuzzUnitFile(f *testing.F) {
	f.Add([]byte("[Service]\nType=oneshot\n[Install]\nAlias=a.service b.service\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var tokens unitTokens
		tokens.parse(data)
		if tokens.serviceType() == "" {
			t.Error("a service without a type")
		}
	})
}

func FuzzRPM(f *testing.F) {
	f.Add([]byte(rpmListing))
	f.Add([]byte("@\t\t\n@a\tb\tc\n@a\tb\td\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		db := &packageDB{owners: newOwnership(nil), conffiles: map[string]string{}}
		parseRPM(data, db)
		for _, p := range db.installed {
			if p.manager != "rpm" || p.status == "" {
				t.Errorf("not a package of rpm: %+v", p)
			}
		}
	})
}
