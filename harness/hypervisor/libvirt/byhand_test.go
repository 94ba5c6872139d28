package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestByHandTheDomainIsThatOfTheDriver(t *testing.T) {
	t.Parallel()
	spec := goodSpec()
	spec.RunDir = t.TempDir()
	spec.Disk.Path, spec.Console = filepath.Join(spec.RunDir, "disk.qcow2"), filepath.Join(spec.RunDir, "console.log")
	owner := &Owner{Name: "nobody", UID: 65534, GID: 65534}
	d := &Driver{uri: "qemu:///session?socket=/s", place: local{owner: owner}}
	got, err := d.ByHand(spec)
	if err != nil {
		t.Fatal(err)
	}
	want, err := domainXML(furnished{spec: spec, mark: newMetadata(spec)})
	if err != nil {
		t.Fatal(err)
	}
	if got.XML != want || got.URI != "qemu:///session?socket=/s" || got.Owner != owner {
		t.Errorf("got %+v", got)
	}
	// By these gc finds it and what goes with it, and QEMU is the same.
	for _, part := range []string{`overlay="` + spec.Disk.Path + `"`, `<tb-cache unit="MiB">64</tb-cache>`} {
		if !strings.Contains(got.XML, part) {
			t.Errorf("%s is missing in\n%s", part, got.XML)
		}
	}
	if made, err := os.ReadDir(spec.RunDir); err != nil || len(made) > 0 {
		t.Errorf("files were made: %v, %v", made, err)
	}
}

func TestByHandIsOnThisHost(t *testing.T) {
	t.Parallel()
	d := &Driver{place: &distant{}}
	if _, err := d.ByHand(goodSpec()); err == nil || !strings.Contains(err.Error(), "another machine") {
		t.Errorf("got %v", err)
	}
}
