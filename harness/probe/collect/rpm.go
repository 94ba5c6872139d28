package collect

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// rpmDatabases are the files by which rpm's database is known, without one of which rpm is not called: asking makes an empty one.
// Debian's rpm, which is there for alien's sake, keeps it in the home directory of who calls it.
var rpmDatabases = [...]string{
	"/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages", "/var/lib/rpm/Packages.db",
	"/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/Packages.db", "/root/.rpmdb/rpmdb.sqlite",
}

// rpmFormat has a line "@NAME ARCH VERSION" for each package, with lines "FLAGS DIGEST PATH" for its files after it, all
// separated by tabs.
const rpmFormat = `@%{NAME}\t%{ARCH}\t%{EVR}\n[%{FILEFLAGS:fflags}\t%{FILEDIGESTS}\t%{FILENAMES}\n]`

// readRPM asks rpm, whose database is no text, what it has installed, and adds it to what dpkg has.
func readRPM(ctx context.Context, src *Source, db *packageDB) error {
	if !src.hasRPM() {
		return nil
	}
	listing, err := src.command(ctx, "rpm", "--query", "--all", "--queryformat", rpmFormat)
	if err != nil {
		return fmt.Errorf("reading rpm's database: %w", err)
	}
	parseRPM(listing, db)
	return nil
}

// hasRPM tells whether there is one of rpm's databases. That of a disk can only be read by the guest's own rpm.
func (s *Source) hasRPM() bool {
	return s.disk == nil && slices.ContainsFunc(rpmDatabases[:], s.exists)
}

// parseRPM reads a listing of [rpmFormat]. A package that is installed in several versions, as kernels are, is one with all of
// them: which one it is depends on the boot, not on the package.
func parseRPM(listing []byte, db *packageDB) {
	versions := map[string][]string{}
	known := map[string]installedPackage{}
	var owner string
	for line := range bytes.Lines(listing) {
		w := strings.Split(strings.TrimSuffix(string(line), "\n"), "\t")
		if len(w) != 3 {
			continue // the name of a file with a tab or a line break: no package's
		}
		if name, header := strings.CutPrefix(w[0], "@"); header {
			p := installedPackage{name: name, arch: w[1], status: "installed", manager: "rpm"}
			owner = p.key()
			known[owner] = p
			versions[owner] = append(versions[owner], w[2])
			continue
		}
		if !strings.HasPrefix(w[2], "/") {
			continue
		}
		db.owners.add(w[2], owner)
		// c is a configuration file, g one that the package owns but does not ship.
		if strings.Contains(w[0], "c") && !strings.Contains(w[0], "g") && w[1] != "" {
			db.conffiles[w[2]] = w[1]
		}
	}
	for key, p := range known {
		slices.Sort(versions[key])
		p.version = strings.Join(versions[key], " ")
		db.installed = append(db.installed, p)
	}
}

// runCommand runs one of the guest's own programs and returns its output, bounded.
func runCommand(ctx context.Context, name string, arguments ...string) ([]byte, error) {
	const bound = 2 * time.Minute // rpm reads 1000 packages in a second; emulated, in half a minute
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	command := exec.CommandContext(ctx, name, arguments...)
	command.Env = commandEnvironment()
	output := &boundedBuffer{left: maxDatabase}
	command.Stdout = output
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("running %s: %w", name, err)
	}
	return output.Bytes(), nil
}

// commandEnvironment is that of the guest's programs, whoever asks.
func commandEnvironment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
}

// boundedBuffer refuses what is too much.
type boundedBuffer struct {
	bytes.Buffer
	left int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooBig
	}
	return b.Buffer.Write(p)
}
