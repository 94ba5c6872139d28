package bench

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/patchlab/patchlab/harness/patch/proxy"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
)

// Candidate is what a run did to its guest, for a person who does it again.
type Candidate struct {
	Increments []Increment
	Force      []string // dpkg's answers about edited configuration files
	// Check is a line for the guest's shell that fails when an expectation does; "" where there is none.
	Check   string
	Reboots int
}

// Increment is what one step of the candidate installed and restarted.
type Increment struct {
	Name     string
	Packages []string // paths of .deb files on the host
	Restart  []string // units
}

// Feasible says what of a scenario a person with dpkg could not do in the same way.
func Feasible(s scenario.Scenario) error {
	var wrong []error
	cannot := func(format string, arguments ...any) {
		wrong = append(wrong, fmt.Errorf("%s: not to be done by hand in the same way: "+format, append([]any{s.Name}, arguments...)...))
	}
	if s.Given != nil || len(s.Hold) > 0 {
		cannot("given, hold")
	}
	for _, inc := range s.Increments {
		if inc.APT == nil || len(inc.Packages) > 0 || len(inc.Files) > 0 || inc.Script != "" || inc.Services != nil {
			cannot("increment %s is not packages of apt alone", inc.Name)
		}
	}
	for _, mode := range s.Reboot {
		if mode != scenario.RebootClean {
			cannot("reboot %s", mode)
		}
	}
	return errors.Join(wrong...)
}

// NewCandidate takes from a run what it has installed and restarted. The packages are copied from the package cache to below dir.
func NewCandidate(result report.Result, s scenario.Scenario, cacheDir, dir string) (Candidate, error) {
	downloads, err := downloadsOf(result.RunDir)
	if err != nil {
		return Candidate{}, err
	}
	c := Candidate{Force: force(s.Conffiles), Check: checkLine(s.Expect), Reboots: len(s.Reboot)}
	for _, inc := range s.Increments {
		increment := Increment{Name: inc.Name}
		for _, p := range result.Packages {
			if p.Increment != inc.Name {
				continue
			}
			file, err := copyPackage(p, downloads, cacheDir, filepath.Join(dir, inc.Name))
			if err != nil {
				return Candidate{}, err
			}
			increment.Packages = append(increment.Packages, file)
		}
		if len(increment.Packages) == 0 {
			return Candidate{}, fmt.Errorf("increment %s: the run names no package that it has installed", inc.Name)
		}
		for _, phase := range result.Phases {
			if phase.Name == "settle" && phase.Increment == inc.Name {
				increment.Restart = append(increment.Restart, phase.Restarted...)
			}
		}
		c.Increments = append(c.Increments, increment)
	}
	return c, nil
}

// downloadsOf reads which package files a run's guest has fetched: file name -> path on the alias host.
func downloadsOf(runDir string) (map[string]string, error) {
	content, err := os.ReadFile(filepath.Join(runDir, rundir.Downloads))
	if err != nil {
		return nil, fmt.Errorf("reading what the run has downloaded: %w", err)
	}
	found := map[string]string{}
	for text := range strings.Lines(string(content)) {
		fields := strings.Fields(text) // time, seconds, status, source, bytes, method, path
		if len(fields) == 7 && fields[2] == "200" && strings.HasSuffix(fields[6], ".deb") {
			found[path.Base(fields[6])] = fields[6]
		}
	}
	return found, nil
}

// packageFile is what the name of a package's file may look like: the guest has a say in it.
var packageFile = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9.+~_-]*\.deb$`)

func copyPackage(p report.PackageChange, downloads map[string]string, cacheDir, dir string) (string, error) {
	if p.To == "" {
		return "", fmt.Errorf("package %s was removed by the run, which installing packages by hand does not do", p.Name)
	}
	name, architecture, _ := strings.Cut(p.Name, ":")
	version := p.To
	if _, after, epoch := strings.Cut(version, ":"); epoch {
		version = after
	}
	file := name + "_" + version + "_" + architecture + ".deb"
	from, known := downloads[file]
	if !known || !packageFile.MatchString(file) {
		return "", fmt.Errorf("package %s %s: the run has downloaded no %s", p.Name, p.To, file)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making room for packages: %w", err)
	}
	to := filepath.Join(dir, file)
	return to, proxy.CopyOut(cacheDir, from, to)
}

func force(c scenario.Conffiles) []string {
	switch c {
	case scenario.ConffilesReplace:
		return []string{"--force-confnew"}
	case scenario.ConffilesAsk:
		return nil
	default:
		return []string{"--force-confdef", "--force-confold"}
	}
}

// checkLine makes one line for the guest's shell of the expectations. It waits first until the guest has started what it starts.
// What there is no plain program for is left out.
func checkLine(expect []scenario.Expect) string {
	lines := []string{"{ systemctl is-system-running --wait >/dev/null || true; }"}
	for _, e := range expect {
		switch {
		case e.Service != "":
			lines = append(lines, "systemctl is-active --quiet "+quote(e.Service))
		case e.Port != "":
			if protocol, number, ok := strings.Cut(e.Port, "/"); ok {
				lines = append(lines, fmt.Sprintf("ss -Hln --%s %s | grep -q .", protocol, quote("sport = :"+number)))
			}
		case e.HTTP != nil:
			lines = append(lines, httpLines(*e.HTTP)...)
		case e.File != nil:
			lines = append(lines, "grep -qF -- "+quote(e.File.Contains)+" "+quote(e.File.Path))
		}
	}
	if len(lines) == 1 {
		return ""
	}
	return strings.Join(lines, " && ")
}

// httpLines use bash, for a server has no curl.
func httpLines(h scenario.HTTP) []string {
	target, err := url.Parse(h.URL)
	if err != nil || target.Scheme != "http" {
		return nil
	}
	host, port := target.Hostname(), target.Port()
	if port == "" {
		port = "80"
	}
	status := h.Status
	if status == 0 {
		status = 200
	}
	request := fmt.Sprintf(`GET %s HTTP/1.0\r\nHost: %s\r\n\r\n`, target.RequestURI(), net.JoinHostPort(host, port))
	fetch := fmt.Sprintf("exec 3<>/dev/tcp/%s/%s; printf %s >&3; cat <&3", host, port, quote(strings.ReplaceAll(request, "%", "%%")))
	lines := []string{
		"answer=$(bash -c " + quote(fetch) + ")",
		fmt.Sprintf(`printf %%s "$answer" | grep -q '^HTTP/[0-9.]* %d'`, status),
	}
	if h.Contains != "" {
		lines = append(lines, `printf %s "$answer" | grep -qF -- `+quote(h.Contains))
	}
	return lines
}

// quote makes one word of a shell out of any text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
