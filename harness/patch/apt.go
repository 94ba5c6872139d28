package patch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/scenario"
)

// aptConf keeps APT away from the guest's own configuration, lists and caches, so that staging leaves no trace in /etc
// and the mirror's name stays unknown. Its own caches spare half a second of each call under emulation. The lock's timeout waits
// for apt-daily, which starts after a boot; HTTP's is long because the proxy hands a file on only once it has it whole and checked.
const aptConf = `Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "%[1]s/none";
Dir::State::lists "%[1]s/lists";
Dir::Cache::archives "%[1]s/archives";
Dir::Cache::pkgcache "%[1]s/pkgcache.bin";
Dir::Cache::srcpkgcache "%[1]s/srcpkgcache.bin";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "300";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Get::Show-Versions "true";
APT::Install-Recommends "false";
APT::Color "false";
DPkg::Lock::Timeout "600";
DPkg::Use-Pty "false";
`

// dpkgOptions answer dpkg's question about an edited configuration file.
func dpkgOptions(c scenario.Conffiles) string {
	switch c {
	case scenario.ConffilesReplace:
		return "Dpkg::Options {\"--force-confnew\";};\n"
	case scenario.ConffilesAsk:
		return ""
	default:
		return "Dpkg::Options {\"--force-confdef\";\"--force-confold\";};\n"
	}
}

// keyring is of the package debian-archive-keyring, which every Debian has. Without it named, APT before 3.0 collects all keys that the
// guest trusts with a shell script: an update until the list is verified takes 4.7 s under emulation, 2.7 s with it.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// sources are the archive's pockets as one-line entries.
func sources(suites ...string) string {
	var list strings.Builder
	for _, suite := range suites {
		archive := "debian"
		if strings.HasSuffix(suite, "-security") {
			archive = "debian-security"
		}
		fmt.Fprintf(&list, "deb [signed-by=%s] http://%s/%s %s main\n", keyring, mirror.AliasHost, archive, suite)
	}
	return list.String()
}

// aptArguments are apt-get's for the increment, the same for download and installation. anew also installs what the guest
// does not have.
func aptArguments(a scenario.APT, anew bool) string {
	if len(a.Packages) == 0 {
		switch a.Mode {
		case "full-upgrade":
			return "full-upgrade"
		case "upgrade":
			return "upgrade"
		default:
			return "--with-new-pkgs upgrade"
		}
	}
	var arguments string
	if !anew {
		arguments += "--only-upgrade "
	}
	if a.Mode != "full-upgrade" {
		arguments += "--no-remove " // an upgrade that wants to remove something must say so
	}
	return arguments + "install --" + quoteAll(a.Packages)
}

// stageAPT downloads with the suite's lists alone, which is quick; only when that does not resolve, the
// release's own pocket, twenty times as large, is added for new dependencies.
func (s Stager) stageAPT(ctx context.Context, increment scenario.Increment, job *Job) (string, error) {
	if increment.APT == nil {
		return "", nil
	}
	suite := increment.APT.SuiteOn(s.Release)
	if s.Release == "" && increment.APT.IsPocket() {
		return "", &ScenarioError{Increment: job.Name, Reason: fmt.Sprintf(
			"the release of the image, whose pocket %s is wanted, is not known: name the suite in full, such as bookworm-%[1]s", increment.APT.Suite)}
	}
	if err := s.configureAPT(ctx, job); err != nil {
		return "", err
	}
	arguments := aptArguments(*increment.APT, s.Anew)
	names, err := s.download(ctx, job, sources(suite), arguments)
	var refused *RefusedError
	if errors.As(err, &refused) && suite != s.Release {
		names, err = s.download(ctx, job, sources(suite, s.Release), arguments)
	}
	if err != nil {
		return "", err
	}
	if len(names) == 0 && !s.Anew && job.OnlyPackages && len(increment.Packages) == 0 {
		return "", &NothingError{Increment: job.Name, Installed: s.installed(ctx, increment.APT.Packages)}
	}
	job.Staged = append(job.Staged, names...)
	return "apt-get --no-download " + arguments + "\n", nil
}

// listsFailed stands before what APT says when it is the lists that it cannot get.
const listsFailed = "\n@lists\n"

// download fetches the lists and the archives. What the package manager refuses is the candidate's fault, what does not come is
// the lab's; the caller, who has the proxy, knows more about the latter.
func (s Stager) download(ctx context.Context, job *Job, list, arguments string) ([]string, error) {
	if err := s.putText(ctx, path.Join(job.dir, "sources.list"), list); err != nil {
		return nil, err
	}
	command := guest.Command{Line: s.downloadLine(job, list, arguments)}
	result, err := s.Conn.Run(ctx, command)
	if err != nil {
		return nil, fmt.Errorf("downloading increment %s: %w", job.Name, err)
	}
	output, archives, _ := strings.Cut(string(result.Stdout), "\n@archives\n")
	if result.ExitCode != 0 {
		return nil, failed(job.Name, output)
	}
	var names []string
	for name := range strings.FieldsSeq(archives) {
		if strings.HasSuffix(name, ".deb") {
			names = append(names, name)
		}
	}
	return names, nil
}

// downloadLine is one shell command. The lists of an earlier increment are as good as new ones, unless something cannot be had with
// them. A guest may trust the archive by another key than its keyring's: then all that it trusts counts.
func (s Stager) downloadLine(job *Job, list, arguments string) string {
	take, keep := "false", "true"
	if s.Lists != "" {
		digest := sha256.Sum256([]byte(list))
		kept := quote(fmt.Sprintf("%s-%x", s.Lists, digest[:8]))
		take = "cp -a " + kept + "/. lists 2>/dev/null && download >download.log && cat download.log"
		keep = fmt.Sprintf("rm -rf %[1]s %[1]s.new; test \"$(du -sk lists | cut -f 1)\" -le %[2]d && "+
			"cp -a lists %[1]s.new && mv %[1]s.new %[1]s || rm -rf %[1]s.new", kept, maxKeptLists)
	}
	return strings.Join([]string{
		"export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 APT_CONFIG=" + quote(path.Join(job.dir, "apt.conf")),
		"cd " + quote(job.dir) + " && mkdir -p lists/partial archives/partial || exit",
		"update() { apt-get -qq update -o APT::Update::Error-Mode=any >update.log 2>&1; }",
		"anykey() { grep -q 'is not signed' update.log && sed -i 's/ \\[signed-by=[^]]*]//' sources.list; }",
		"download() { apt-get --download-only " + arguments + " 2>&1; }",
		"if " + take + "; then :",
		"else update || { anykey && update; } || { echo; echo @lists; cat update.log; exit 100; }",
		keep,
		"download || exit",
		"fi",
		"echo; echo @archives; cd archives && ls",
	}, "; ")
}

// failed tells whose fault it is that APT did not download.
func failed(increment, output string) error {
	_, lists, unlisted := strings.Cut("\n"+output, listsFailed)
	switch {
	case unlisted && strings.Contains(lists, "does not have a Release file"):
		return &ScenarioError{Increment: increment, Reason: "the archive has no such suite: " + lastLines(lists, 3)}
	case unlisted:
		return &FetchError{Increment: increment, Output: lists}
	case strings.Contains(output, "E: Failed to fetch "):
		return &FetchError{Increment: increment, Output: output}
	default:
		return &RefusedError{Increment: increment, Output: output}
	}
}

func (s Stager) configureAPT(ctx context.Context, job *Job) error {
	conf := fmt.Sprintf(aptConf, job.dir) + dpkgOptions(s.Conffiles)
	if s.Proxy != "" {
		conf += fmt.Sprintf("Acquire::http::Proxy \"http://%s\";\n", s.Proxy)
	}
	return s.putText(ctx, path.Join(job.dir, "apt.conf"), conf)
}

// installed names the versions for the message that there is nothing to do. It is a courtesy: without an answer
// the message is shorter.
func (s Stager) installed(ctx context.Context, packages []string) string {
	if len(packages) == 0 {
		return "everything is up to date"
	}
	result, err := s.Conn.Run(ctx, guest.Command{
		Line: `dpkg-query -W -f '${Package} ${Version}, ' --` + quoteAll(packages) + " 2>/dev/null",
	})
	versions := strings.TrimSuffix(strings.TrimSpace(string(result.Stdout)), ",")
	if err != nil || versions == "" {
		return "none of " + strings.Join(packages, ", ")
	}
	return versions
}
