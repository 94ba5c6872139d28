package collect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of one initrd, and of how many are looked into.
const (
	maxInitrds       = 6
	maxInitrdBytes   = 2 << 30
	maxInitrdEntries = 200_000
	maxModules       = 10_000
	initrdPatience   = 3 * time.Minute // unpacking 60 MB takes 10 s under emulation
)

// initrds looks into those that the menu names.
func (b *bootReader) initrds(ctx context.Context) {
	for _, path := range b.named[:min(len(b.named), maxInitrds)] {
		attributes := map[string]string{"what": "initrd"}
		if info, err := b.stat(path); err == nil {
			attributes["size"], attributes["changed"] = strconv.FormatInt(info.Size, 10), changed(info)
			held, err := b.initrd(ctx, path)
			attributes["state"] = initrdState(err)
			attributes["releases"] = strings.Join(held.releases, ",")
			attributes["modules"] = strings.Join(held.names(), ",")
		} else {
			attributes["state"] = "missing"
		}
		b.add("file "+path, attributes)
	}
}

func initrdState(err error) string {
	var missing *exec.Error
	switch {
	case err == nil:
		return "whole"
	case errors.As(err, &missing), errors.Is(err, errTooBig):
		return "unknown: " + err.Error() // the boot needs no such program
	default:
		return "cut off: " + err.Error()
	}
}

func (b *bootReader) initrd(ctx context.Context, path string) (contents, error) {
	file, err := os.Open(b.src.path(path))
	if err != nil {
		return contents{}, err
	}
	defer file.Close() //nolint:errcheck // it was read only
	ctx, cancel := context.WithTimeout(ctx, initrdPatience)
	defer cancel()
	return readInitrd(file, func(program []string, packed io.Reader, use func(io.Reader) error) error {
		return unpack(ctx, program, packed, use)
	})
}

// contents of an initrd, as far as they matter.
type contents struct {
	releases []string        // for which it has modules
	modules  map[string]bool // by name, with underscores
	entries  int
}

func (c *contents) names() []string {
	var names []string
	for name := range c.modules {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[:min(len(names), maxModules)]
}

// unpacker has a program unpack a stream, and passes what comes out to use, all of which it must read.
type unpacker func(program []string, packed io.Reader, use func(io.Reader) error) error

var (
	errNoInitrd = errors.New("it is no initrd")
	errCutOff   = errors.New("it ends in the middle")
)

// packings are the ways in which the kernel takes an initrd, by their first bytes.
var packings = []struct {
	magic   string
	program []string
}{
	{"\x28\xb5\x2f\xfd", []string{"zstd", "-dc"}},
	{"\x1f\x8b", []string{"gzip", "-dc"}},
	{"\xfd7zXZ\x00", []string{"xz", "-dc"}},
	{"\x02\x21\x4c\x18", []string{"lz4", "-dc"}},
	{"\x5d\x00\x00", []string{"xz", "--format=lzma", "-dc"}},
	{"BZh", []string{"bzip2", "-dc"}},
	{"\x89LZO", []string{"lzop", "-dc"}},
}

// readInitrd reads an initrd: archives one after the other, of which the last may be packed. It returns what it has seen, also with
// an error.
func readInitrd(file io.Reader, unpack unpacker) (contents, error) {
	c := contents{modules: map[string]bool{}}
	in := bufio.NewReaderSize(io.LimitReader(file, maxInitrdBytes), 64<<10)
	for archives := 0; ; archives++ {
		if err := skipZeros(in); errors.Is(err, io.EOF) {
			if archives == 0 {
				return c, errNoInitrd
			}
			return c, nil
		} else if err != nil {
			return c, err
		}
		start, _ := in.Peek(len(cpioMagic)) // an error shows when it is read
		if isArchive(start) {
			if err := c.archive(in); err != nil {
				return c, err
			}
			continue
		}
		for _, p := range packings {
			if bytes.HasPrefix(start, []byte(p.magic)) {
				return c, unpack(p.program, in, c.unpacked)
			}
		}
		return c, errNoInitrd
	}
}

// unpacked reads what was packed: archives until the end.
func (c *contents) unpacked(stream io.Reader) error {
	in := bufio.NewReaderSize(io.LimitReader(stream, maxInitrdBytes), 64<<10)
	for archives := 0; ; archives++ {
		err := skipZeros(in)
		if errors.Is(err, io.EOF) && archives > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
		if err := c.archive(in); err != nil {
			return err
		}
	}
}

const (
	cpioMagic  = "070701"
	cpioHeader = 110
)

func isArchive(start []byte) bool {
	return string(start) == cpioMagic || string(start) == "070702"
}

// archive reads one cpio archive to its trailer.
func (c *contents) archive(in *bufio.Reader) error {
	header := make([]byte, cpioHeader)
	for {
		if c.entries++; c.entries > maxInitrdEntries {
			return errTooBig
		}
		if _, err := io.ReadFull(in, header); err != nil {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
		if !isArchive(header[:len(cpioMagic)]) {
			return errNoInitrd
		}
		size, errSize := cpioField(header, 6)
		length, errLength := cpioField(header, 11)
		if errSize != nil || errLength != nil || length > maxCpioName {
			return errNoInitrd
		}
		name := make([]byte, length+padding(cpioHeader+length))
		if _, err := io.ReadFull(in, name); err != nil {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
		text := strings.TrimRight(string(name), "\x00")
		if _, err := io.CopyN(io.Discard, in, size+padding(size)); err != nil {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
		if text == "TRAILER!!!" {
			return nil
		}
		c.entry(text)
	}
}

const maxCpioName = 4096

// cpioField returns the number in one of the header's fields, of eight hexadecimal digits each.
func cpioField(header []byte, number int) (int64, error) {
	const digits = 8
	at := len(cpioMagic) + number*digits
	value, err := strconv.ParseUint(string(header[at:at+digits]), 16, 32)
	return int64(value), err
}

// padding is what follows to the next multiple of four.
func padding(size int64) int64 { return (4 - size%4) % 4 }

// entry notes modules, and the kernel that they are for.
func (c *contents) entry(name string) {
	_, below, found := strings.Cut("/"+name, "/lib/modules/")
	release, file, inside := strings.Cut(below, "/")
	if !found || !inside || len(release) > 100 {
		return
	}
	module, ok := moduleName(path.Base(file))
	if !ok || len(c.modules) >= maxModules {
		return
	}
	c.modules[module] = true
	if !slices.Contains(c.releases, release) && len(c.releases) < maxKernels {
		c.releases = append(c.releases, release)
		slices.Sort(c.releases)
	}
}

// moduleName returns the name by which the kernel knows the module in a file.
func moduleName(file string) (string, bool) {
	name, packed, ok := strings.Cut(file, ".ko")
	if !ok || packed != "" && packed != ".xz" && packed != ".zst" && packed != ".gz" {
		return "", false
	}
	return strings.ReplaceAll(name, "-", "_"), true
}

func skipZeros(in *bufio.Reader) error {
	for {
		next, err := in.ReadByte()
		if err != nil {
			return err
		}
		if next != 0 {
			return in.UnreadByte()
		}
	}
}

// unpack runs a program of the guest's.
func unpack(ctx context.Context, program []string, packed io.Reader, use func(io.Reader) error) error {
	command := exec.CommandContext(ctx, program[0], program[1:]...)
	command.Env = commandEnvironment()
	command.Stdin = packed
	command.WaitDelay = time.Second
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	used := use(out)
	_, _ = io.Copy(io.Discard, io.LimitReader(out, maxInitrdBytes)) // so that it comes to its end
	if err := command.Wait(); err != nil {
		return fmt.Errorf("%w: %s: %w", errCutOff, program[0], err)
	}
	return used
}
