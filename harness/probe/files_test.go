package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

func file(name, digest string) fact.Fact {
	return fact.Fact{Kind: fact.KindFile, Name: name, Attributes: map[string]string{"sha256": digest, "size": "1"}}
}

var aUnit = fact.Fact{Kind: fact.KindUnit, Name: "a.service", Attributes: map[string]string{"active": "active"}}

// tellsFiles is a guest whose probe sends some files with their prints, and has seen those at some positions of the index.
func tellsFiles(t *testing.T, known *Files, seen []int, prints []protocol.Print, sent ...fact.Fact) string {
	t.Helper()
	doc := protocol.Document{Facts: fact.NewSet(append(sent, aUnit)...), Files: &protocol.Files{}}
	if known.Len() > 0 {
		doc.Files.Seen = protocol.NewSeen(known.index)
		for _, position := range seen {
			protocol.SetSeen(doc.Files.Seen, position)
		}
	}
	for _, p := range prints {
		doc.Files.AddPrint(p)
	}
	content, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestWhatIsKnownNeedsNotBeSent(t *testing.T) {
	first, err := program.facts(t.Context(), says(0, tellsFiles(t, nil, nil, []protocol.Print{30, 10, 0, 20},
		file("/a", "1"), file("/b", "2"), file("/racy", "3"), file("/c", "4")), ""), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Files.Len() != 3 || first.Facts.Len() != 5 || first.Sent != 4 {
		t.Fatalf("%d known, %d facts, %d sent", first.Files.Len(), first.Facts.Len(), first.Sent)
	}
	// /b is gone, /c has moved, /racy has to be told, /new is new. In the index are /b, /c, /a.
	conn := says(0, tellsFiles(t, first.Files, []int{2}, []protocol.Print{21, 40, 0}, file("/c", "5"), file("/new", "6"), file("/racy", "3")), "")
	second, err := program.facts(t.Context(), conn, nil, first.Files)
	if err != nil {
		t.Fatal(err)
	}
	want := fact.NewSet(file("/a", "1"), file("/c", "5"), file("/new", "6"), file("/racy", "3"), aUnit)
	if diff := cmp.Diff(want.All(), second.Facts.All()); diff != "" {
		t.Error(diff)
	}
	if second.Files != first.Files {
		t.Error("another index is brought into the guest for four small files")
	}
	if diff := cmp.Diff([]string{program.path() + " facts --index " + protocol.IndexPath(first.Files.rendered)}, conn.lines); diff != "" {
		t.Error(diff)
	}
}

func TestMuchThatMovedIsLearned(t *testing.T) {
	known := newFiles([]fact.Fact{file("/a", "1"), file("/b", "2")}, []protocol.Print{1, 2})
	large := file("/boot/initrd", "3")
	large.Attributes["size"] = fmt.Sprint(30 << 20)
	second, err := program.facts(t.Context(), says(0, tellsFiles(t, known, []int{0}, []protocol.Print{9}, large), ""), nil, known)
	if err != nil {
		t.Fatal(err)
	}
	third, err := program.facts(t.Context(), says(0, tellsFiles(t, second.Files, []int{0, 1}, nil), ""), nil, second.Files)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fact.NewSet(file("/a", "1"), large, aUnit).All(), third.Facts.All()); diff != "" {
		t.Error(diff)
	}
}

func TestAMissingIndexIsBroughtOnce(t *testing.T) {
	known := newFiles([]fact.Fact{file("/a", "1")}, []protocol.Print{1})
	var stored []byte
	conn := &fakeConn{}
	conn.answer = func(line string) (guest.Result, error) {
		switch {
		case !strings.Contains(line, " facts "):
			stored = conn.stdin
			return guest.Result{}, nil
		case stored == nil:
			return guest.Result{ExitCode: protocol.ExitNoIndex, Stderr: []byte("patchlab-probe: no index of files\n")}, nil
		default:
			return guest.Result{Stdout: []byte(tellsFiles(t, known, []int{0}, nil))}, nil
		}
	}
	read, err := program.facts(t.Context(), conn, conn, known)
	if err != nil || read.Facts.Len() != 2 || len(conn.lines) != 3 {
		t.Fatalf("%d facts, %v, after %q", read.Facts.Len(), err, conn.lines)
	}
	if index, err := protocol.ParseIndex(stored); err != nil || index.Len() != 1 {
		t.Errorf("put %q: %v", stored, err)
	}
	stored = nil
	_, err = program.facts(t.Context(), conn, nil, known)
	if _, ok := errors.AsType[*guest.ExitError](err); !ok {
		t.Errorf("without a way to bring it: %v", err)
	}
}

func TestWhatIsKnownIsKeptAsItIs(t *testing.T) {
	known := newFiles([]fact.Fact{file("/a", "1"), file("/b", "2"), file("/racy", "3")}, []protocol.Print{7, 1 << 63, 0})
	content, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	read := &Files{}
	if err := json.Unmarshal(content, read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(known, read, cmp.AllowUnexported(Files{}, protocol.Index{})); diff != "" {
		t.Error(diff)
	}
	other := strings.Replace(string(content), `"version":"`, `"version":"x`, 1)
	if json.Unmarshal([]byte(other), read) == nil {
		t.Error("what another probe has read is taken")
	}
}

func TestAHostileAnswerAboutFilesDoesNoHarm(t *testing.T) {
	known := newFiles([]fact.Fact{file("/a", "1")}, []protocol.Print{1})
	for _, answer := range []string{
		`{"facts":[],"files":{}}`,
		`{"facts":[],"files":{"seen":"////////","prints":"AA=="}}`,
		`{"facts":[{"kind":"file","name":"/x"}],"files":{"prints":"AQ=="}}`,
		`{"facts":[{"kind":"file","name":"/x"},{"kind":"file","name":"/y"}],"files":{"prints":"AQAAAAAAAAABAAAAAAAAAA=="}}`,
	} {
		for _, k := range []*Files{nil, known} {
			if _, err := program.facts(t.Context(), says(0, answer, ""), nil, k); err != nil {
				t.Errorf("%s: %v", answer, err)
			}
		}
	}
}
