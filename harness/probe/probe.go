// Package probe reads a guest from the host: it brings the static probe into the guest, runs it there over the connection that
// is open, and believes its answers no further than their size.
package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/embedded"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/secret"
)

// Document is what one run of the probe read.
type Document = protocol.Document

// Note says that facts of a kind are missing, and why.
type Note = protocol.Note

// Settled is the state of the guest's init system.
type Settled = protocol.Settled

// ErrAnswer is wrapped by errors about an answer that is not the probe's: too big, or no document. The guest is at fault.
var ErrAnswer = errors.New("the guest's answer is not the probe's")

// Digest identifies the probe in the keys of caches: another probe may read other facts. It is "" in a build without a probe.
func Digest() string {
	b, err := current()
	if err != nil {
		return ""
	}
	return b.digest
}

// Install brings the probe into the guest unless it is there. It is gone after each reboot. In a build without a probe the
// error wraps [embedded.ErrMissing].
func Install(ctx context.Context, conn guest.Conn) error {
	b, err := current()
	if err != nil {
		return err
	}
	return b.install(ctx, conn)
}

// Settle waits until the guest has come to rest, or for so long. Both give the state in which it then is; see
// [protocol.Settled.Quiet].
func Settle(ctx context.Context, conn Runner, timeout time.Duration) (Settled, error) {
	b, err := current()
	if err != nil {
		return Settled{}, err
	}
	return b.settle(ctx, conn, "settle --timeout "+timeout.String())
}

// SettleAlone is [Settle] until nobody is logged in any more either.
func SettleAlone(ctx context.Context, conn Runner, timeout time.Duration) (Settled, error) {
	b, err := current()
	if err != nil {
		return Settled{}, err
	}
	return b.settle(ctx, conn, "settle --alone --timeout "+timeout.String())
}

// SetClock tells the guest what time it is. The probe must be installed.
func SetClock(ctx context.Context, conn Runner, now time.Time) error {
	b, err := current()
	if err != nil {
		return err
	}
	command := guest.Command{Line: fmt.Sprintf("%s clock --set %d", b.path(), now.UnixNano())}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return fmt.Errorf("setting the guest's clock: %w", err)
	}
	return nil
}

// BootID returns the id of the guest's boot. It needs no probe.
func BootID(ctx context.Context, conn guest.Conn) (string, error) {
	command := guest.Command{Line: "cat /proc/sys/kernel/random/boot_id"}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	const length = 36 // of a UUID
	id := strings.TrimSpace(string(result.Stdout))
	if len(id) != length {
		return "", fmt.Errorf("reading the boot id: %w: %d bytes", ErrAnswer, len(id))
	}
	return protocol.Clean(id), nil
}

// build is one build of the probe.
type build struct {
	program []byte
	digest  string
}

// current is the embedded build. A run asks for it at every look at its guest, and its digest is of megabytes.
var current = sync.OnceValues(func() (*build, error) {
	program, err := embedded.Probe()
	if err != nil {
		return nil, err
	}
	return newBuild(program), nil
})

func newBuild(program []byte) *build {
	digest := sha256.Sum256(program)
	return &build{program: program, digest: hex.EncodeToString(digest[:])}
}

// path is where the probe lies in the guest. Its name holds its digest, so that one look tells whether the right one is there.
func (b *build) path() string { return protocol.Dir + "/probe-" + b.digest[:16] }

func (b *build) install(ctx context.Context, conn guest.Conn) error {
	present, err := conn.Run(ctx, guest.Command{Line: "test -x " + b.path()})
	if err != nil {
		return fmt.Errorf("looking for the probe: %w", err)
	}
	if present.ExitCode == 0 {
		return nil
	}
	compressed, err := b.compressed()
	if err != nil {
		return err
	}
	command := guest.Command{Line: b.installLine(), Stdin: compressed}
	result, err := conn.Run(ctx, command)
	if err == nil {
		err = result.Err(command)
	}
	if err != nil {
		return fmt.Errorf("installing the probe: %w", err)
	}
	return nil
}

// compressed returns the program as gzip has it.
func (b *build) compressed() (*bytes.Buffer, error) {
	var compressed bytes.Buffer
	z, err := gzip.NewWriterLevel(&compressed, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("compressing the probe: %w", err)
	}
	if _, err := z.Write(b.program); err != nil {
		return nil, fmt.Errorf("compressing the probe: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing the probe: %w", err)
	}
	return &compressed, nil
}

// installLine is one shell command, for each costs a tenth of a second under emulation; the program comes compressed, for
// decrypting costs more than unpacking. Others may pass through the directory, as APT's unprivileged user does. Debian mounts
// /run noexec, so that our directory is mounted onto itself without that.
func (b *build) installLine() string {
	const dir = protocol.Dir
	return strings.Join([]string{
		"set -e; umask 077; mkdir -p -m 711 " + dir + "; mkdir -p " + protocol.JobsDir,
		"test -e " + dir + "/.mounted || { mount -o bind,exec,nosuid,nodev " + dir + " " + dir + " && : >" + dir + "/.mounted; }",
		"gzip -dc >" + b.path() + ".new",
		"chmod 700 " + b.path() + ".new",
		"mv " + b.path() + ".new " + b.path(),
	}, "; ")
}

// checked bounds and cleans a document.
func checked(doc Document) (Document, error) {
	if doc.Facts.Len() > protocol.MaxFacts {
		return Document{}, fmt.Errorf("reading facts: %w: %d facts", ErrAnswer, doc.Facts.Len())
	}
	cleanDocument(&doc)
	return doc, nil
}

func (b *build) settle(ctx context.Context, conn Runner, subcommand string) (Settled, error) {
	var settled Settled
	if err := b.ask(ctx, conn, subcommand, &settled); err != nil {
		return Settled{}, fmt.Errorf("waiting for the guest to settle: %w", err)
	}
	settled.State, settled.BootID = protocol.Clean(settled.State), protocol.Clean(settled.BootID)
	for i, j := range settled.Jobs {
		settled.Jobs[i] = protocol.Job{
			Unit: protocol.Clean(j.Unit), Type: protocol.Clean(j.Type), State: protocol.Clean(j.State),
		}
	}
	for i, unit := range settled.Failed {
		settled.Failed[i] = protocol.Clean(unit)
	}
	return settled, nil
}

// ask runs a subcommand that prints one JSON document.
func (b *build) ask(ctx context.Context, conn Runner, subcommand string, into any) error {
	command := guest.Command{Line: b.path() + " " + subcommand}
	result, err := conn.Run(ctx, command)
	if err != nil {
		return err
	}
	if err := result.Err(command); err != nil {
		return err
	}
	return decode(result, into)
}

// decode reads the one document that a subcommand prints.
func decode(result guest.Result, into any) error {
	if result.Truncated || len(result.Stdout) > protocol.MaxDocument {
		return fmt.Errorf("%w: more than %d bytes", ErrAnswer, protocol.MaxDocument)
	}
	decoder := json.NewDecoder(bytes.NewReader(result.Stdout))
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something after the document", ErrAnswer)
	}
	return nil
}

// cleanDocument does again what the probe did: the guest may have sent what it likes. And it hides the secrets in it, which
// takes this host a tenth of a second, but an emulated guest some.
func cleanDocument(doc *Document) {
	hider := secret.NewHider()
	facts := make([]fact.Fact, 0, doc.Facts.Len())
	for _, f := range doc.Facts.All() {
		f = protocol.CleanFact(f)
		for name, value := range f.Attributes {
			f.Attributes[name] = hider.Hide(value)
		}
		facts = append(facts, f)
	}
	doc.Facts = fact.NewSet(facts...)
	doc.Probe, doc.BootID = protocol.Clean(doc.Probe), protocol.Clean(doc.BootID)
	for i, note := range doc.Notes {
		doc.Notes[i] = Note{Kind: fact.Kind(protocol.Clean(string(note.Kind))), Error: hider.Hide(protocol.Clean(note.Error))}
	}
}
