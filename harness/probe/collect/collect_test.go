package collect

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func fixedClock() time.Time { return time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC) }

func TestACollectorThatFailsLeavesANoteAndTheOthersTheirFacts(t *testing.T) {
	src := NewSource(tree(t, map[string]string{"/proc/sys/kernel/random/boot_id": "0b0e\n"}), nil, 0)
	doc, _ := Run(t.Context(), src, []Collector{
		{"broken", func(context.Context, *Source) ([]fact.Fact, error) { panic("index out of range") }},
		{"half", func(context.Context, *Source) ([]fact.Fact, error) {
			return []fact.Fact{named("half", "a\x1b[2J")}, errors.New("no \x1b access")
		}},
		{"whole", func(context.Context, *Source) ([]fact.Fact, error) { return []fact.Fact{named("whole", "b")}, nil }},
	}, fixedClock)
	want := protocol.Document{
		Probe: protocol.Version, BootID: "0b0e", TakenAt: fixedClock(),
		Facts: fact.NewSet(named("half", `a\x1b[2J`), named("whole", "b")),
		Notes: []protocol.Note{
			{Kind: "broken", Error: "reading broken facts: panic: index out of range"},
			{Kind: "half", Error: `no \x1b access`},
		},
	}
	if diff := cmp.Diff(want, doc, cmp.AllowUnexported(fact.Set{})); diff != "" {
		t.Error(diff)
	}
}

func TestFactsBeyondTheLimitAreCutAndNoted(t *testing.T) {
	src := NewSource(t.TempDir(), nil, 0)
	many := make([]fact.Fact, protocol.MaxFacts+1)
	doc, _ := Run(t.Context(), src, []Collector{
		{"many", func(context.Context, *Source) ([]fact.Fact, error) { return many, nil }},
	}, fixedClock)
	if len(doc.Notes) != 1 || !strings.Contains(doc.Notes[0].Error, "more than 200000 facts") {
		t.Errorf("notes %v, want one about the limit", doc.Notes)
	}
}

func TestAnEmptyMachineGivesNotesAndNoCrash(t *testing.T) {
	doc, timings := Run(t.Context(), NewSource(t.TempDir(), nil, 1), All(), fixedClock)
	if len(timings) != len(All()) || doc.Facts.Len() != 1 || len(doc.Notes) == 0 {
		t.Errorf("%d timings, %d facts, notes %v", len(timings), doc.Facts.Len(), doc.Notes)
	}
}

func TestSecretsNeverGetIntoFacts(t *testing.T) {
	const (
		hash  = "$y$j9T$3v1l$S4ltyH4shThatMustNotLeak"
		token = "t0k3n-that-must-not-leak"
		key   = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEKeyThatMustNotLeak\n-----END OPENSSH PRIVATE KEY-----\n"
	)
	root := tree(t, map[string]string{
		"/etc/passwd":               "root:x:0:0:root:/root:/bin/bash\n",
		"/etc/group":                "root:x:0:\n",
		"/etc/shadow":               "root:" + hash + ":19000:0:99999:7:::\n",
		"/etc/shadow-":              "root:" + hash + ":19000:0:99999:7:::\n",
		"/etc/gshadow.bak":          "web:" + hash + "::\n", // readable for all by mistake
		"/etc/ssh/ssh_host_key":     key,
		"/etc/ssl/private/open.key": "secret=" + token, // readable, in a directory that is not
		"/etc/left-open.pem":        key,               // readable for all, and still a key
		"/etc/app/token":            token,
		"/etc/app/plain.conf":       "colour = blue\n",
	})
	chmod(t, root, "/etc/shadow", 0o640)
	chmod(t, root, "/etc/shadow-", 0o640)
	chmod(t, root, "/etc/ssh/ssh_host_key", 0o600)
	chmod(t, root, "/etc/app/token", 0o600)
	chmod(t, root, "/etc/ssl/private", 0o710)
	doc, _ := Run(t.Context(), NewSource(root, nil, 0), All(), fixedClock)
	rendered, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"MustNotLeak", "must-not-leak", "j9T$3v1l", "PRIVATE KEY"} {
		if strings.Contains(string(rendered), secret) {
			t.Errorf("the facts hold %q", secret)
		}
	}
	for _, wanted := range []string{"colour = blue", `"/etc/app/token"`, `"locked":"false"`} {
		if !strings.Contains(string(rendered), wanted) {
			t.Errorf("the facts lack %q", wanted)
		}
	}
}

func TestTheSameStateRendersTheSameBytes(t *testing.T) {
	root := tree(t, machine)
	var rendered [2]string
	for i := range rendered {
		doc, _ := Run(t.Context(), NewSource(root, &manager{}, 900), All(), fixedClock)
		content, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		rendered[i] = string(content)
	}
	if diff := cmp.Diff(rendered[0], rendered[1]); diff != "" {
		t.Error(diff)
	}
}
