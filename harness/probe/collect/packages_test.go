package collect

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
)

const dpkgStatus = `Package: libssl3
Status: install ok installed
Multi-Arch: same
Architecture: amd64
Source: openssl
Version: 3.0.20-1~deb12u1
Description: library
 Conffiles: not a field, a line of the description

Package: nginx-common
Status: hold ok half-configured
Architecture: all
Version: 1.22.1-9
Conffiles:
 /etc/nginx/nginx.conf d41d8cd98f00b204e9800998ecf8427e
 /etc/nginx/gone.conf d41d8cd98f00b204e9800998ecf8427e obsolete
 /etc/nginx/new.conf newconffile
Description: files

Package: exim4
Status: deinstall ok config-files
Architecture: all
Version: 4.96

Package: never
Status: purge ok not-installed
Architecture: amd64
`

func TestPackagesAreReadFromDpkgsDatabase(t *testing.T) {
	src := NewSource(tree(t, map[string]string{
		"/var/lib/dpkg/status": dpkgStatus,
		"/var/lib/apt/extended_states": "Package: libssl3\nArchitecture: amd64\nAuto-Installed: 1\n\n" +
			"Package: nginx-common\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: exim4\nArchitecture: amd64\nAuto-Installed: 0\n",
		"/var/lib/dpkg/info/libssl3:amd64.list": "/.\n/usr\n/etc/ssl-not-here\n",
		"/var/lib/dpkg/info/nginx-common.list":  "/.\n/etc\n/etc/nginx/nginx.conf\n/usr/share/etc/x\n/boot/x",
	}), nil, 0)
	want := []fact.Fact{
		named("package", "libssl3:amd64", "version", "3.0.20-1~deb12u1", "status", "installed", "auto", "true"),
		named("package", "nginx-common:all",
			"version", "1.22.1-9", "status", "half-configured", "auto", "true", "held", "true"),
	}
	if diff := cmp.Diff(want, collected(t, src, packages)); diff != "" {
		t.Error(diff)
	}
	db, err := src.packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/etc/ssl-not-here": "libssl3:amd64", "/etc/nginx/nginx.conf": "nginx-common:all", "/boot/x": "nginx-common:all",
		"/usr/share/etc/x": "nginx-common:all", "/etc/nginx/sites": "", "/.": "nginx-common:all", "": "",
	} {
		if got := db.owners.of(path); got != want {
			t.Errorf("%q belongs to %q, want %q", path, got, want)
		}
	}
	if diff := cmp.Diff(map[string]string{"/etc/nginx/nginx.conf": "d41d8cd98f00b204e9800998ecf8427e"}, db.conffiles); diff != "" {
		t.Error("conffiles:", diff)
	}
}

func TestPackagesWithoutAFileListAreNoted(t *testing.T) {
	src := NewSource(tree(t, map[string]string{"/var/lib/dpkg/status": dpkgStatus}), nil, 0)
	doc, _ := Run(t.Context(), src, []Collector{{"package", packages}}, fixedClock)
	if doc.Facts.Len() != 2 || len(doc.Notes) != 1 {
		t.Errorf("%d facts, notes %v; want 2 and a note", doc.Facts.Len(), doc.Notes)
	}
}

const rpmListing = "@kernel\tx86_64\t6.1-2\n\t\t/usr/lib/modules\nd\t\t/boot/doc\n" +
	"@kernel\tx86_64\t6.1-1\n" +
	"@demo\tnoarch\t1:2-1\nc\te3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\t/etc/demo.conf\n" +
	"cg\t\t/etc/ghost.conf\n\tx\t/etc/a\tb\n"

func TestPackagesOfRPMAreReadBesideDpkgs(t *testing.T) {
	src := NewSource(tree(t, map[string]string{
		"/var/lib/dpkg/status":      "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n",
		"/var/lib/dpkg/info/a.list": "/.\n",
		"/root/.rpmdb/rpmdb.sqlite": "",
		"/etc/passwd":               "", "/etc/group": "", "/etc/demo.conf": "", "/etc/ghost.conf": "edited",
	}), nil, 0)
	src.command = func(_ context.Context, name string, _ ...string) ([]byte, error) {
		if name != "rpm" {
			t.Errorf("ran %s", name)
		}
		return []byte(rpmListing), nil
	}
	want := []fact.Fact{
		named("package", "a:all", "version", "1", "status", "installed"),
		named("package", "demo:noarch", "version", "1:2-1", "status", "installed", "manager", "rpm"),
		named("package", "kernel:x86_64", "version", "6.1-1 6.1-2", "status", "installed", "manager", "rpm"),
	}
	if diff := cmp.Diff(want, collected(t, src, packages)); diff != "" {
		t.Error(diff)
	}
	edited := map[string]string{}
	for _, f := range collected(t, src, files) {
		if f.Attribute("type") == "file" && strings.HasPrefix(f.Name, "/etc/") {
			edited[f.Name] = f.Attribute("package") + " " + f.Attribute("edited")
		}
	}
	wantEdited := map[string]string{
		"/etc/passwd": " ", "/etc/group": " ",
		"/etc/demo.conf": "demo:noarch false", "/etc/ghost.conf": "demo:noarch ",
	}
	if diff := cmp.Diff(wantEdited, edited); diff != "" {
		t.Error(diff)
	}
}

func TestRPMIsNotCalledWithoutItsDatabase(t *testing.T) {
	src := NewSource(tree(t, map[string]string{"/var/lib/dpkg/status": dpkgStatus, "/usr/bin/rpm": ""}), nil, 0)
	src.command = func(context.Context, string, ...string) ([]byte, error) {
		t.Error("it was called, which makes an empty database")
		return nil, nil
	}
	_, _ = src.packages(t.Context())
}

func TestAGuestWithRPMAloneLacksNothing(t *testing.T) {
	src := NewSource(tree(t, map[string]string{"/usr/lib/sysimage/rpm/rpmdb.sqlite": ""}), nil, 0)
	src.command = func(context.Context, string, ...string) ([]byte, error) { return []byte(rpmListing), nil }
	if got := collected(t, src, packages); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}
