package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// Files is what is known of a guest's files from an earlier reading of it, or of its image. The guest gets their prints, and tells
// only what is not among them. It does not change. A nil one knows nothing.
type Files struct {
	index    protocol.Index
	facts    []fact.Fact // by their position in the index
	rendered []byte      // the index as the guest gets it
}

// newFiles keeps the facts that have a print.
func newFiles(facts []fact.Fact, prints []protocol.Print) *Files {
	f := &Files{index: protocol.NewIndex(prints)}
	f.facts = make([]fact.Fact, f.index.Len())
	for i, one := range facts {
		if position, known := f.index.Find(prints[i]); known && prints[i] != 0 {
			f.facts[position] = one
		}
	}
	f.rendered = f.index.Bytes()
	return f
}

// Len returns how many files are known.
func (f *Files) Len() int {
	if f == nil {
		return 0
	}
	return f.index.Len()
}

// storedFiles is how they are kept.
type storedFiles struct {
	Version string           `json:"version"` // of the protocol
	Prints  []protocol.Print `json:"prints"`
	Facts   []fact.Fact      `json:"facts"`
}

// MarshalJSON renders them for [Files.UnmarshalJSON].
func (f *Files) MarshalJSON() ([]byte, error) {
	stored := storedFiles{Version: protocol.Version, Facts: f.facts, Prints: make([]protocol.Print, f.index.Len())}
	for i := range stored.Prints {
		stored.Prints[i] = f.index.At(i)
	}
	return json.Marshal(stored)
}

// UnmarshalJSON refuses what a probe of another version has read.
func (f *Files) UnmarshalJSON(content []byte) error {
	var stored storedFiles
	if err := json.Unmarshal(content, &stored); err != nil {
		return err
	}
	if stored.Version != protocol.Version || len(stored.Prints) != len(stored.Facts) {
		return fmt.Errorf("files as read by a probe of version %q, this is %s", stored.Version, protocol.Version)
	}
	*f = *newFiles(stored.Facts, stored.Prints)
	return nil
}

// PutFiles brings the prints into the guest, so that the next reading finds them there.
func PutFiles(ctx context.Context, conn Runner, known *Files) error {
	if known.Len() == 0 {
		return nil
	}
	path := protocol.IndexPath(known.rendered)
	// An older index is of no use any more.
	command := guest.Command{
		Line:  fmt.Sprintf("umask 077; rm -f %s/files-*; cat >%s.new && mv %s.new %s", protocol.Dir, path, path, path),
		Stdin: bytes.NewReader(known.rendered),
	}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return fmt.Errorf("putting the index of files: %w", err)
	}
	return nil
}

// Reading is one reading of a guest.
type Reading struct {
	Document // with all facts, also those that did not have to be read

	// Files is what is known after it, for the next one.
	Files *Files
	// Sent is how many file facts the guest sent, because they were not known.
	Sent int
}

// Facts reads the guest once. The probe must be installed. What is known of the guest's files is not read again; by puts the
// question, and carries the index there if it is missing, unless carrier is another way for that. carrier may be nil.
func Facts(ctx context.Context, by, carrier Runner, known *Files) (Reading, error) {
	b, err := current()
	if err != nil {
		return Reading{}, err
	}
	return b.facts(ctx, by, carrier, known)
}

// FactsOff reads a system that does not run, by a probe that has it for its root and the index of what is known of its files. No
// unit of it has a state, and there are neither processes nor ports.
func FactsOff(ctx context.Context, by Runner, known *Files) (Reading, error) {
	b, err := current()
	if err != nil {
		return Reading{}, err
	}
	doc, err := b.askFacts(ctx, by, "facts --off", known)
	if err != nil {
		return Reading{}, fmt.Errorf("reading facts: %w", err)
	}
	return whole(doc, known)
}

// Index returns what a guest gets of what is known, and where it belongs; nothing if nothing is known.
func (f *Files) Index() (path string, content []byte) {
	if f.Len() == 0 {
		return "", nil
	}
	return protocol.IndexPath(f.rendered), f.rendered
}

func (b *build) facts(ctx context.Context, by, carrier Runner, known *Files) (Reading, error) {
	doc, err := b.askFacts(ctx, by, "facts", known)
	exit, refused := errors.AsType[*guest.ExitError](err)
	if refused && exit.Result.ExitCode == protocol.ExitNoIndex && carrier != nil {
		if err := PutFiles(ctx, carrier, known); err != nil {
			return Reading{}, fmt.Errorf("reading facts: %w", err)
		}
		doc, err = b.askFacts(ctx, by, "facts", known)
	}
	if err != nil {
		return Reading{}, fmt.Errorf("reading facts: %w", err)
	}
	return whole(doc, known)
}

func (b *build) askFacts(ctx context.Context, by Runner, subcommand string, known *Files) (Document, error) {
	if known.Len() > 0 {
		subcommand += " --index " + protocol.IndexPath(known.rendered)
	}
	var doc Document
	err := b.ask(ctx, by, subcommand, &doc)
	return doc, err
}

// BootFacts reads what the next boot depends on. The probe must be installed. It takes some seconds, and has daemons check their
// configuration.
func BootFacts(ctx context.Context, by Runner) (Document, error) {
	b, err := current()
	if err != nil {
		return Document{}, err
	}
	var doc Document
	if err := b.ask(ctx, by, "facts --only "+string(fact.KindBoot), &doc); err != nil {
		return Document{}, fmt.Errorf("reading facts: %w", err)
	}
	return checked(doc)
}

// whole adds to what the guest sent what it did not have to send.
func whole(doc Document, known *Files) (Reading, error) {
	doc, err := checked(doc)
	if err != nil {
		return Reading{}, err
	}
	r := Reading{Document: doc, Files: known}
	sent := doc.Facts.OfKind(fact.KindFile)
	r.Sent = len(sent)
	if doc.Files == nil {
		return r, nil // a guest that tells everything, always
	}
	var seen []fact.Fact
	var prints []protocol.Print
	if known.Len() > 0 {
		for position, f := range known.facts {
			if protocol.IsSeen(doc.Files.Seen, position) {
				seen, prints = append(seen, f), append(prints, known.index.At(position))
			}
		}
	}
	for i := range sent {
		prints = append(prints, doc.Files.Print(i))
	}
	if worthLearning(sent, known) {
		r.Files = newFiles(slices.Concat(seen, sent), prints)
	}
	// What was sent is of now, and wins.
	r.Facts = fact.NewSet(slices.Concat(seen, doc.Facts.All())...)
	if r.Facts.Len() > protocol.MaxFacts {
		return Reading{}, fmt.Errorf("reading facts: %w: %d facts", ErrAnswer, r.Facts.Len())
	}
	r.Document.Files = nil
	return r, nil
}

// worthLearning tells whether a new index saves more than it costs to bring it into the guest, which is a tenth of a second or two
// under emulation.
func worthLearning(sent []fact.Fact, known *Files) bool {
	const many, large = 200, 2 << 20 // facts, bytes of content
	if known.Len() == 0 || len(sent) > many {
		return true
	}
	var read int64
	for _, f := range sent {
		size, err := strconv.ParseInt(f.Attribute("size"), 10, 64)
		if err == nil && f.Attribute("sha256") != "" {
			read += size
		}
	}
	return read > large
}
