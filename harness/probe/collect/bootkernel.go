package collect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

const maxKernels = 32

// kernelFiles reads the kernels of /boot, and which one runs.
func (b *bootReader) kernelFiles(ctx context.Context) {
	release, err := b.src.read("/proc/sys/kernel/osrelease", maxSmall)
	b.note(err)
	b.add("running", map[string]string{"release": strings.TrimSpace(string(release))})
	entries, _ := b.src.readDir("/boot") // a machine without one boots otherwise
	var found []string
	for _, entry := range entries {
		name := entry.Name()
		if (strings.HasPrefix(name, "vmlinuz-") || strings.HasPrefix(name, "vmlinux-")) && entry.Type().IsRegular() {
			found = append(found, "/boot/"+name)
		}
	}
	var db *packageDB
	if len(found) > 1 { // or there is nothing that could be removed
		db, err = b.src.packages(ctx)
		b.note(err)
	}
	for _, path := range found[:min(len(found), maxKernels)] {
		owner := ""
		if db != nil {
			owner = db.owners.of(path)
		}
		b.kernelFile(path, owner)
	}
}

func (b *bootReader) kernelFile(path, owner string) {
	if len(b.kernels) > maxKernels {
		return
	}
	b.kernels = append(b.kernels, path)
	attributes := map[string]string{"what": "kernel", "package": owner}
	defer b.add("file "+path, attributes)
	info, err := b.stat(path)
	if err != nil {
		attributes["state"] = "missing"
		return
	}
	attributes["size"], attributes["changed"] = strconv.FormatInt(info.Size, 10), changed(info)
	head, err := b.head(path, kernelHead)
	if err != nil {
		b.note(err)
		return
	}
	k, err := parseKernel(head)
	if err != nil {
		attributes["state"] = "unknown: " + err.Error()
		return
	}
	attributes["state"] = "whole"
	if info.Size < k.size {
		attributes["state"] = fmt.Sprintf("cut off: %d bytes of %d", info.Size, k.size)
	}
	attributes["release"] = k.release
	if k.release != "" && !slices.Contains(b.releases, k.release) {
		b.releases = append(b.releases, k.release)
	}
}

// head reads the beginning of a file, which may be shorter.
func (b *bootReader) head(path string, size int) ([]byte, error) {
	file, err := os.Open(b.src.path(path))
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was read only
	head := make([]byte, size)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:n], nil
}

// kernelHead is as far as a bzImage's set-up code, where its header and its release are, can reach.
const kernelHead = 64 << 10

// kernelHeader is what a bzImage says of itself.
type kernelHeader struct {
	size    int64 // that it must have at least
	release string
}

var errNoKernel = errors.New("not a kernel image of this architecture")

// parseKernel reads the set-up header of the x86 boot protocol.
func parseKernel(head []byte) (kernelHeader, error) {
	const (
		setupSectors, systemSize, signature, magic, version = 0x1f1, 0x1f4, 0x1fe, 0x202, 0x20e
		end                                                 = 0x210
		sector, paragraph                                   = 512, 16
	)
	if len(head) < end || head[signature] != 0x55 || head[signature+1] != 0xaa || string(head[magic:magic+4]) != "HdrS" {
		return kernelHeader{}, errNoKernel
	}
	sectors := int64(head[setupSectors])
	if sectors == 0 {
		sectors = 4 // as the protocol has it
	}
	k := kernelHeader{size: (sectors+1)*sector + int64(binary.LittleEndian.Uint32(head[systemSize:]))*paragraph}
	if at := int(binary.LittleEndian.Uint16(head[version:])) + sector; at > sector && at < len(head) {
		text, _, _ := bytes.Cut(head[at:], []byte{0})
		if words := strings.Fields(string(text)); len(words) > 0 && len(words[0]) < 100 {
			k.release = words[0]
		}
	}
	return k, nil
}
