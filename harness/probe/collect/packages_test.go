package collect

import (
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
	db, err := src.packages()
	if err != nil {
		t.Fatal(err)
	}
	wantOwners := map[string]string{
		"/etc/ssl-not-here": "libssl3:amd64", "/etc/nginx/nginx.conf": "nginx-common:all", "/boot/x": "nginx-common:all",
	}
	if diff := cmp.Diff(wantOwners, db.owners); diff != "" {
		t.Error("owners:", diff)
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
