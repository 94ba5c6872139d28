package patch

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/scenario"
)

// aptConf keeps APT away from the guest's own configuration, lists and caches, so that staging leaves no trace in /etc
// and the mirror's name stays unknown. The lock's timeout waits for apt-daily, which starts after a boot;
// HTTP's is long because the proxy hands a file on only once it has it whole and checked.
const aptConf = `Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "%[1]s/none";
Dir::State::lists "%[1]s/lists";
Dir::Cache::archives "%[1]s/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
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

// sources are the archive's pockets as one-line entries.
func sources(suites ...string) string {
	var list strings.Builder
	for _, suite := range suites {
		archive := "debian"
		if strings.HasSuffix(suite, "-security") {
			archive = "debian-security"
		}
		fmt.Fprintf(&list, "deb http://%s/%s %s main\n", mirror.AliasHost, archive, suite)
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
	if err := s.writeAPT(ctx, job, sources(suite)); err != nil {
		return "", err
	}
	arguments := aptArguments(*increment.APT, s.Anew)
	names, err := s.download(ctx, job, arguments)
	var refused *RefusedError
	if errors.As(err, &refused) && suite != s.Release {
		if err := s.putText(ctx, path.Join(job.dir, "sources.list"), sources(suite, s.Release)); err != nil {
			return "", err
		}
		names, err = s.download(ctx, job, arguments)
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
func (s Stager) download(ctx context.Context, job *Job, arguments string) ([]string, error) {
	command := guest.Command{Line: fmt.Sprintf(
		"export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 APT_CONFIG=%s && cd %s && mkdir -p lists/partial archives/partial "+
			"&& { apt-get -qq update -o APT::Update::Error-Mode=any >update.log 2>&1 || { echo; echo @lists; cat update.log; exit 100; }; } "+
			"&& apt-get --download-only %s 2>&1 "+
			"&& echo && echo @archives && cd archives && ls",
		quote(path.Join(job.dir, "apt.conf")), quote(job.dir), arguments)}
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

func (s Stager) writeAPT(ctx context.Context, job *Job, list string) error {
	conf := fmt.Sprintf(aptConf, job.dir) + dpkgOptions(s.Conffiles)
	if s.Proxy != "" {
		conf += fmt.Sprintf("Acquire::http::Proxy \"http://%s\";\n", s.Proxy)
	}
	if err := s.putText(ctx, path.Join(job.dir, "apt.conf"), conf); err != nil {
		return err
	}
	return s.putText(ctx, path.Join(job.dir, "sources.list"), list)
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
