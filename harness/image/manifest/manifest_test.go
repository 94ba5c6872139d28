package manifest_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/images"
)

const good = `schema: 1
name: web
distribution: debian
release: bookworm
`

func TestDefaults(t *testing.T) {
	t.Parallel()
	payload := fstest.MapFS{"web/page": {Data: []byte("hello")}, "web/setup.sh": {Data: []byte("#!/bin/sh\n")}}
	text := good + "packages: [nginx-light]\nfiles:\n  - {from: page, to: /srv/page}\nsetup: setup.sh\nservices: [nginx]\n"
	got, err := manifest.Parse("web.yaml", []byte(text), payload)
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Manifest{
		Schema: 1, Name: "web", Distribution: "debian", Release: "bookworm",
		Pockets: []manifest.Pocket{manifest.Release}, Firmware: hypervisor.BIOS,
		Disk: 3072, Memory: 768, VCPUs: 1,
		Packages:    []string{"nginx-light"},
		Files:       []manifest.File{{From: "page", To: "/srv/page", Mode: "0644", Owner: "root:root", Content: []byte("hello")}},
		Setup:       "setup.sh",
		SetupScript: []byte("#!/bin/sh\n"),
		Services:    []string{"nginx"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		want []string // in order
	}{
		"unknown keys and bad values all at once": {
			text: "schema: 2\nname: web\ndistribution: ubuntu\nrelease: noble\npackges: [x]\n",
			want: []string{
				"web.yaml:1:9: schema: this version reads schema 1, not 2",
				`web.yaml:3:15: distribution: want one of debian, not "ubuntu"`,
				`web.yaml:4:10: release: want one of bookworm, trixie, not "noble"`,
				`web.yaml:5:1: unknown key "packges" (did you mean "packages"?`,
			},
		},
		"no schema": {
			text: "name: web\ndistribution: debian\nrelease: bookworm\n",
			want: []string{"web.yaml:1:1: schema: missing: want 1"},
		},
		"a name that is not the file's": {
			text: strings.Replace(good, "name: web", "name: mail", 1),
			want: []string{`web.yaml:2:7: name: "mail" is not the name of the file, "web"`},
		},
		"sizes": {
			text: good + "disk: 1GiB\nmemory: 768\nvcpus: 100\n",
			want: []string{
				"web.yaml:5:7: disk: 1GiB is too small: want 2GiB or more",
				`web.yaml:6:9: memory: want a size such as 768MiB or 3GiB, not "768"`,
				"web.yaml:7:8: vcpus: want 1 to 64, not 100",
			},
		},
		"pockets": {
			text: good + "pockets: [updates, updates, proposed]\n",
			want: []string{
				`pockets: "release" is missing`,
				`pockets[1]: "updates" is there twice`,
				`pockets[2]: want one of release, updates, security, backports, not "proposed"`,
			},
		},
		"firmware": {
			text: good + "firmware: uefi\n",
			want: []string{`web.yaml:5:11: firmware: want one of bios, efi, not "uefi"`},
		},
		"files": {
			text: good + "files:\n" +
				"  - {from: page, to: srv/page}\n" +
				"  - {from: ../page, to: /srv/page}\n" +
				"  - {from: page, to: /run/page, mode: \"9\", owner: root}\n" +
				"  - {from: absent, to: /srv/page}\n",
			want: []string{
				`files[0].to: want an absolute path of a file, not "srv/page"`,
				`files[1].from: "../page" leaves the manifest's directory`,
				"files[2].to: /run/page is not on the disk",
				`files[2].mode: want octal digits in quotes such as "0644", not "9"`,
				`files[2].owner: want USER:GROUP, not "root"`,
				`files[3].from: no such file in the manifest's directory: "absent"`,
				"files[3].to: /srv/page is there twice",
			},
		},
		"lists": {
			text: good + "packages: [nginx, nginx, 'a b']\nservices: ['x; reboot']\nsetup: absent.sh\n",
			want: []string{
				`packages[1]: "nginx" is there twice`,
				`packages[2]: want a package name, not "a b"`,
				`services[0]: want a unit name, not "x; reboot"`,
				`setup: no such file in the manifest's directory: "absent.sh"`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := manifest.Parse("web.yaml", []byte(test.text), fstest.MapFS{"web/page": {}})
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(test.want) {
				t.Errorf("%d problems, want %d:\n%v", len(lines), len(test.want), err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("problems lack %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestABaseGivesWhatIsNotWritten(t *testing.T) {
	t.Parallel()
	directory := fstest.MapFS{
		"web.yaml": {Data: []byte(good + "packages: [nginx-light]\nfiles: [{from: page, to: /srv/page}]\nsetup: setup.sh\n" +
			"services: [nginx]\nmemory: 512MiB\n")},
		"web/page": {Data: []byte("hello")}, "web/setup.sh": {Data: []byte("true\n")},
		"next.yaml":   {Data: []byte("schema: 1\nname: next\nbase: web\nrelease: trixie\nsetup: own.sh\nservices: []\n")},
		"next/own.sh": {Data: []byte("own\n")},
	}
	base, err := manifest.Load(directory, "web")
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Load(directory, "next")
	if err != nil {
		t.Fatal(err)
	}
	want := base
	want.Name, want.Base, want.Release, want.Setup, want.SetupScript, want.Services = "next", "web", "trixie", "own.sh", []byte("own\n"), []string{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestABaseThatIsNone(t *testing.T) {
	t.Parallel()
	directory := fstest.MapFS{
		"web.yaml":  {Data: []byte(good)},
		"next.yaml": {Data: []byte("schema: 1\nname: next\nbase: web\n")},
		"last.yaml": {Data: []byte("schema: 1\nname: last\nbase: last\n")},
		"bad.yaml":  {Data: []byte("schema: 1\nname: bad\ndistribution: debian\nrelease: noble\n")},
	}
	for base, want := range map[string]string{
		"wbe":  `last.yaml:3:7: base: unknown image "wbe" (did you mean "web"?`,
		"last": "base: last.yaml:3:7: base: a manifest that others stand on may not stand on one itself",
		"next": "base: next.yaml:3:7: base: a manifest that others stand on",
		"bad":  "base: bad.yaml:4:10: release: want one of",
	} {
		_, err := manifest.Parse("last.yaml", []byte("schema: 1\nname: last\nbase: "+base+"\n"), directory)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("base %s: error %v, want %q alone", base, err, want)
		}
	}
}

func TestLoadNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	_, err := manifest.Load(images.FS, "debian-12-wbe")
	if !errors.Is(err, manifest.ErrUnknown) || !strings.Contains(err.Error(), `did you mean "debian-12-web"?`) {
		t.Errorf("error %v, want ErrUnknown with the name that was meant", err)
	}
	if _, err := manifest.Load(images.FS, "../secret"); !errors.Is(err, manifest.ErrUnknown) {
		t.Errorf("error %v, want ErrUnknown", err)
	}
}

func TestBuiltInManifestsAreValid(t *testing.T) {
	t.Parallel()
	names, err := manifest.Names(images.FS)
	if err != nil || len(names) == 0 {
		t.Fatalf("names %v, error %v", names, err)
	}
	for _, name := range names {
		if _, err := manifest.Load(images.FS, name); err != nil {
			t.Error(err)
		}
	}
}

func TestSizeReadsWhatItWrites(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"768MiB", "3GiB", "1536MiB"} {
		var size manifest.Size
		if err := size.UnmarshalText([]byte(text)); err != nil || size.String() != text {
			t.Errorf("%s is read as %s, error %v", text, size, err)
		}
	}
	for _, text := range []string{"", "3", "3GB", "-1GiB", "0MiB", "99999999999GiB", "GiB", "1.5GiB"} {
		var size manifest.Size
		if err := size.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %s", text, size)
		}
	}
}

func FuzzParseNeverPanics(f *testing.F) {
	f.Add(good + "files: [{from: page, to: /x}]\n")
	f.Add("disk: 3GiB\nservices: [1]\n")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = manifest.Parse("web.yaml", []byte(text), fstest.MapFS{"web/page": {}})
	})
}
