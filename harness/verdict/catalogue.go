package verdict

import (
	"slices"
	"strings"
)

// Entry explains one finding id.
type Entry struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"` // where a case has no reason to be milder or harder
	Title    string   `json:"title"`
	Meaning  string   `json:"meaning"` // what was seen, and why it matters
	Remedy   string   `json:"remedy"`  // what to do about it
}

// Lookup finds an id; letters may be small.
func Lookup(id string) (Entry, bool) {
	i := slices.IndexFunc(Catalogue(), func(e Entry) bool { return strings.EqualFold(e.ID, id) })
	if i < 0 {
		return Entry{}, false
	}
	return Catalogue()[i], true
}

// Group names the hundred that an id belongs to.
func (e Entry) Group() string {
	groups := map[byte]string{
		'1': "services and processes", '2': "network", '3': "files and configuration", '4': "security",
		'5': "packages", '6': "restart", '7': "boot", '8': "storage and logs", '9': "the run itself",
	}
	return groups[e.ID[2]]
}

// Catalogue returns all finding ids in order. An id is never reused, and new ones stay within their hundred.
func Catalogue() []Entry {
	return slices.Concat(services(), network(), files(), security(), packages(), restarts(), boots(), storage(), runs())
}

func services() []Entry {
	return []Entry{
		{
			"PL101", Error, "service lost",
			"A unit that was active before the patch is not active any more.",
			"Read the unit's journal in the run directory, repair its configuration or hold the package that stopped it.",
		},
		{
			"PL102", Error, "service appeared",
			"A unit is active or enabled that was neither before: the patch started a daemon that nobody asked for.",
			"Disable or mask the unit, or announce it with an allowance if it is wanted.",
		},
		{
			"PL103", Error, "active but would not come back",
			"The unit still runs, but it is no longer enabled: everything looks well until the next reboot or power cut.",
			"Enable the unit again (systemctl enable UNIT) and look at the maintainer script or step that disabled it.",
		},
		{
			"PL104", Error, "unstable",
			"The unit starts, but then fails, is restarted again and again, or dies shortly after its start.",
			"Read its journal: a crash loop after a patch is mostly a configuration or library that does not fit.",
		},
		{
			"PL105", Error, "start job hangs",
			"A start job does not end, so that whatever waits for it never starts, and the boot may not finish.",
			"Look at what the named unit waits for; give it a TimeoutStartSec, or take the dependency away.",
		},
		{
			"PL106", Error, "timer or job appeared",
			"A timer or cron job exists that was not there before: something will run later, perhaps as root.",
			"Read what it runs; announce it with an allowance, or remove it.",
		},
		{
			"PL107", Error, "process lost outside units",
			"A process that belonged to no unit ran before the patch and does not any more.",
			"Make it a unit, so that something watches it and a boot brings it back.",
		},
		{
			"PL108", Warning, "old rot",
			"It is broken after a reboot of the unpatched clone as well: the patch is not to blame, but the next boot will hurt.",
			"Repair it before patching: otherwise the patch gets the blame.",
		},
		{
			"PL109", Warning, "restarted unasked",
			"A unit was restarted that the patch did not need to restart: its clients saw an interruption.",
			"Plan the interruption, or find the trigger (needrestart, a maintainer script) and turn it off.",
		},
	}
}

func network() []Entry {
	return []Entry{
		{
			"PL201", Error, "port lost",
			"A port that listened before the patch does not listen any more.",
			"Look at the service that owned it: it is stopped, or its configuration now names another port.",
		},
		{
			"PL202", Error, "port appeared",
			"A port listens that did not before.",
			"Find its owner in the finding; close it, or announce it with an allowance.",
		},
		{
			"PL203", Error, "exposure widened",
			"A daemon that was bound to a narrow address (loopback) now listens on a wider one.",
			"Bind it to the old address again: a changed default of the new version is the usual cause.",
		},
		{
			"PL204", Error, "network configuration lost",
			"An address, a route or a name server that the guest had is gone.",
			"Compare the configuration of the interfaces with the baseline before patching the real server: you would lose it.",
		},
		{
			"PL205", Error, "no ssh",
			"The guest is settled but does not let anybody in over ssh.",
			"Keep a console at hand; check sshd's configuration with `sshd -t`, and what the patch did to it.",
		},
		{
			"PL206", Info, "client connection ended",
			"A connection that the scenario held open across the patch has ended: clients see an interruption.",
			"Announce the interruption to those who use the service; a restart cannot be had without it.",
		},
	}
}

func files() []Entry {
	return []Entry{
		{
			"PL301", Error, "edited configuration overwritten",
			"A configuration file that the administrator had changed was replaced: the local settings are gone.",
			"Take the local settings from the diff, and put them back after the patch, or into a drop-in directory.",
		},
		{
			"PL302", Error, "configuration file question",
			"The package asks what to do about an edited configuration file. Unattended, that stops the installation.",
			"Decide it beforehand: `conffiles: keep` or `replace`; merge what is new by hand.",
		},
		{
			"PL303", Error, "effective configuration invalid",
			"A daemon's own check refuses its configuration. It runs on only because it has not read it yet.",
			"Repair the file before anything restarts the daemon.",
		},
		{
			"PL304", Error, "file of another package changed",
			"The patch changed a file that belongs to a package which is not part of it.",
			"Look at the maintainer script that did so; the next update of the owner will undo or trip over it.",
		},
		{
			"PL305", Warning, "unowned file appeared",
			"There is a new file, or a new directory with several, that no package owns, so no update and no removal will ever care for it.",
			"See what made it; allow it, or remove it.",
		},
		{
			"PL306", Error, "differs from its package",
			"A file is not what its package shipped.",
			"Reinstall the package, unless the change was made on purpose.",
		},
		{
			"PL307", Warning, "effective configuration changed",
			"What a daemon takes as its configuration differs, though its own file may not: a default or an include moved.",
			"Read the diff; pin the old value explicitly if it matters.",
		},
		{
			"PL308", Error, "identity changed",
			"Host keys, the machine id or the host's names differ: clients will refuse it, or take it for another machine.",
			"Restore the old identity, and find what regenerated it.",
		},
	}
}

func security() []Entry {
	return []Entry{
		{
			"PL401", Error, "hardening weakened",
			"A protection is weaker than before: a sysctl, a kernel parameter, a security module, the firewall, or who may write to a file.",
			"Set it again: a sysctl in a file of your own that sorts last, a mode with chmod; and check after the next boot.",
		},
		{
			"PL402", Error, "set-uid or capability added",
			"A program gained the power to run with more rights than its caller.",
			"Take the bit away (chmod u-s, setcap -r) unless the program's purpose needs it.",
		},
		{
			"PL403", Error, "account, key or sudo right added",
			"Somebody can log in or act as root who could not before.",
			"Remove it, or announce it with an allowance and an owner.",
		},
		{
			"PL404", Error, "remote login weakened",
			"The ssh daemon accepts more than before: passwords, root, or old algorithms.",
			"Set the option explicitly in sshd_config.d, and check with `sshd -T`.",
		},
		{
			"PL405", Warning, "trust store or certificate changed",
			"The guest trusts other authorities or shows another certificate than before.",
			"Check that the services that you call and your clients still agree.",
		},
	}
}

func packages() []Entry {
	return []Entry{
		{
			"PL501", Error, "package lost",
			"The upgrade removed a package that was not meant to go.",
			"See which dependency conflicts; install the replacement, or use a milder upgrade mode.",
		},
		{
			"PL502", Error, "left unconfigured",
			"A package is unpacked but not configured: it may work by luck, and every later installation will stumble.",
			"Run `dpkg --configure -a` and read why the maintainer script failed.",
		},
		{
			"PL503", Error, "apply failed",
			"The increment did not install: the package manager or the script said no.",
			"Read the log of the increment in the run directory; its last lines name the cause.",
		},
		{
			"PL504", Error, "nothing changed, or not as locked",
			"The increment left the installed versions as they were, or installed others than the lock names.",
			"Check suite and package names: an empty candidate tests nothing.",
		},
		{
			"PL505", Warning, "hold, pin or third-party origin in the way",
			"A hold, an APT pin or a package of another origin keeps the update from being installed as published.",
			"Release the hold, or test the combination that production really has.",
		},
	}
}

func restarts() []Entry {
	return []Entry{
		{
			"PL601", Error, "stale process on deleted files",
			"A process still runs the old code: it maps files that the patch replaced. The hole is open until it restarts.",
			"Restart the unit, or end the session, that the finding names.",
		},
		{
			"PL602", Error, "still stale after its restart",
			"The unit was restarted, yet a process of it still maps the replaced files.",
			"Stop it, see which children survive (KillMode), end them, and start it again.",
		},
		{
			"PL603", Error, "the advised restart broke it",
			"The service worked until it was restarted, as the patch demands.",
			"Read the journal of the failed start before production needs the same restart.",
		},
	}
}

func boots() []Entry {
	return []Entry{
		{
			"PL701", Error, "boot entry, kernel, initrd or modules missing",
			"The audit before the reboot found that what would be started is incomplete: a kernel, its initrd, modules or default.target.",
			"Rebuild it while the machine still runs: update-initramfs -u -k RELEASE, update-grub.",
		},
		{
			"PL702", Error, "no fallback kernel",
			"Only one kernel is left: if it fails to boot, the boot menu offers nothing else.",
			"Keep the old kernel until the new one has booted once.",
		},
		{
			"PL703", Error, "boot loader configuration broken",
			"The boot loader's configuration cannot be read, or names what does not exist.",
			"Run update-grub, read its output, and compare grub.cfg with the baseline.",
		},
		{
			"PL704", Error, "no space for boot files",
			"There is not enough room where kernel and initrd are written.",
			"Remove kernels that are not used, or enlarge the file system, before patching.",
		},
		{
			"PL705", Error, "mount that will not come",
			"The file system table names what the next boot cannot mount: it would end in emergency mode.",
			"Correct the line in /etc/fstab, or add nofail if the server can live without it.",
		},
		{
			"PL706", Error, "boot ended",
			"The guest gave up booting: panic, emergency mode, or power off. The stage and the console lines are quoted.",
			"Do what the stage asks for; do not patch production before a boot succeeds.",
		},
		{
			"PL707", Error, "boot hung",
			"The boot stood still at the named stage for much longer than the same stage took unpatched.",
			"Read the last console lines; a unit with a hanging start job is the usual cause.",
		},
		{
			"PL708", Error, "reset loop",
			"The guest starts again and again and never arrives.",
			"Boot the old kernel from the boot menu, and look at what resets: watchdog, panic=, a failing unit with reboot action.",
		},
		{
			"PL709", Error, "kernel is not the installed one",
			"The running kernel, or the one that the next boot will choose, is not the one that the patch installed.",
			"Run update-grub, check GRUB_DEFAULT and a saved default entry: otherwise the fix is installed but never used.",
		},
		{
			"PL710", Warning, "boot slower",
			"The boot took much longer than the unpatched one.",
			"Compare the stages in the result; systemd-analyze blame names the unit.",
		},
		{
			"PL711", Warning, "no rescue found",
			"The boot failed, and no other boot entry or rescue mode brought the guest up either.",
			"Have a rescue medium or a backup that is tested before patching production.",
		},
		{
			"PL712", Warning, "rescue needs what nobody has",
			"Emergency mode asks for a root password, and the account is locked: nobody can get in.",
			"Set a root password and keep it safe, or prepare a rescue medium.",
		},
		{
			"PL713", Error, "fallback does not work any more",
			"The kernel from before the patch was booted by its menu entry, and does not come up with all services.",
			"Find out why before production needs it: its initrd, its modules and its entry are the patch's to keep.",
		},
		{
			"PL714", Error, "stays down after a panic",
			"The kernel waits for ever after a panic, or does not start anew: the machine is out of service until somebody resets it.",
			"Set kernel.panic to some seconds in /etc/sysctl.d (kernel.panic = 30), and see that a boot takes it.",
		},
	}
}

func storage() []Entry {
	return []Entry{
		{
			"PL801", Error, "file system filling",
			"A file system is much fuller than before, or nearly full.",
			"Find what grows (caches, logs, old kernels), and make room before patching.",
		},
		{
			"PL802", Warning, "new errors in the journal",
			"The journal shows errors that the unpatched guest did not.",
			"Read them: today's error line is tomorrow's outage.",
		},
		{
			"PL803", Info, "resource growth",
			"Memory, tasks or open files have grown compared with the baseline.",
			"Watch it over a longer run before patching a machine with little to spare.",
		},
		{
			"PL804", Error, "mount lost or changed",
			"A file system is not mounted any more, has become read-only, or is mounted with other options.",
			"Look at /etc/fstab, the mount units and the kernel's messages about the device.",
		},
	}
}

func runs() []Entry {
	return []Entry{
		{
			"PL901", Warning, "rollback not proven",
			"No way back from the patch was tried with success.",
			"Have a snapshot or a backup before patching production.",
		},
		{
			"PL902", Warning, "allowance expired or never matching",
			"The scenario announces a drift that did not happen, or whose date has passed.",
			"Remove the allowance, or renew it with a reason and an owner.",
		},
		{
			"PL903", Error, "check gone or skipped",
			"A check that ran at the baseline did not run after the patch: nothing is known about its subject.",
			"See in the suite's log why it was left out.",
		},
		{
			"PL904", Error, "expectation failed",
			"A check that the scenario declares held at the baseline and does not any more.",
			"The finding shows what was expected and what came; look at the service behind it.",
		},
		{
			"PL905", Warning, "expectation failed already at baseline",
			"A check that the scenario declares fails on the unpatched guest: it says nothing about the patch and was left out.",
			"Repair the guest or the expectation, then run again.",
		},
		{
			"PL906", Warning, "runtime-only state lost",
			"Something was started or set by hand on the running machine, and no boot brings it back.",
			"Make it permanent: a unit, a file in /etc/sysctl.d, an interface configuration.",
		},
	}
}
