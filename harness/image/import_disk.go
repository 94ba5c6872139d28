package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// foreignFile is the copy of the imported file that is looked at: nobody changes it between a look and the next.
const foreignFile = "foreign.qcow2"

// takeDisk copies the foreign file, makes sure that it is a whole qcow2 file that stands alone, and turns it into a plain disk: without
// compression, snapshots and whatever else a file may hold beside its content.
func (j *importJob) takeDisk(ctx context.Context) error {
	source, err := os.Open(j.order.File)
	if err != nil {
		return fmt.Errorf("opening the file to import: %w", err)
	}
	defer func() { _ = source.Close() }() // it was only read
	size, err := checkFile(j.order.File, source)
	if err != nil {
		return err
	}
	if err := j.checkRoom("copying the file", size); err != nil {
		return err
	}
	copied := j.workshop.file(foreignFile)
	if j.imported.SHA256, err = copyFile(ctx, source, copied); err != nil {
		return fmt.Errorf("copying %s: %w", j.order.File, err)
	}
	if err := j.checkContent(ctx, copied); err != nil {
		return err
	}
	convert := qemuImg(j.log, "convert", "-q", "-f", "qcow2", "-O", "qcow2", "-W", "-m", "8", copied, j.workshop.file(diskFile))
	if err := convert.run(ctx); err != nil {
		return fmt.Errorf("converting the disk: %w", err)
	}
	if err := os.Remove(copied); err != nil {
		return fmt.Errorf("removing the copy: %w", err)
	}
	// The hypervisor's user reads it.
	return os.Chmod(j.workshop.file(diskFile), 0o644)
}

// CheckFile tells early what [Builder.Import] would refuse at the first look.
func CheckFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the file to import: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	_, err = checkFile(path, file)
	return err
}

func checkFile(name string, file *os.File) (size int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("opening the file to import: %w", err)
	}
	if !info.Mode().IsRegular() {
		return 0, &RefusedError{File: name, Reason: "it is no ordinary file"}
	}
	return info.Size(), checkHeader(name, file)
}

func (j *importJob) checkRoom(act string, needed int64) error {
	free, err := freeSpace(j.workshop.path)
	if err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", j.Store.Dir, err)
	}
	// What the guest writes at its first boots, and a run beside it.
	const reserve = 1 << 30
	if free < needed+reserve {
		return fmt.Errorf("%s needs %d MiB in %s beside a reserve of 1 GiB, and %d MiB are free; remove images (patchlab image list, rm) "+
			"or set PATCHLAB_IMAGES_DIR", act, needed>>20, j.Store.Dir, free>>20)
	}
	return nil
}

// checkContent looks at the copy with QEMU's own eyes.
func (j *importJob) checkContent(ctx context.Context, copied string) error {
	file, err := os.Open(copied)
	if err != nil {
		return fmt.Errorf("opening the copy: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	size, err := checkFile(j.order.File, file)
	if err != nil {
		return err
	}
	var checked struct {
		Errors      int64 `json:"check-errors"`
		Corruptions int64 `json:"corruptions"`
		End         int64 `json:"image-end-offset"`
	}
	if err := j.ask(ctx, &checked, "check", "-f", "qcow2", "--output=json", copied); err != nil {
		return err
	}
	switch {
	case checked.Errors > 0 || checked.Corruptions > 0:
		return &RefusedError{File: j.order.File, Reason: fmt.Sprintf("qemu-img check finds %d corruptions and %d errors in it",
			checked.Corruptions, checked.Errors)}
	case checked.End > size:
		return &RefusedError{File: j.order.File, Reason: fmt.Sprintf("it is cut off: it has %d bytes and speaks of %d", size, checked.End)}
	}
	var measured struct {
		Required int64 `json:"required"`
	}
	if err := j.ask(ctx, &measured, "measure", "-f", "qcow2", "-O", "qcow2", "--output=json", copied); err != nil {
		return err
	}
	return j.checkRoom("converting the disk", measured.Required)
}

// ask has qemu-img answer in JSON.
func (j *importJob) ask(ctx context.Context, into any, arguments ...string) error {
	var answer bytes.Buffer
	command := qemuImg(j.log, arguments...)
	command.stdout = &answer
	err := command.run(ctx)
	// The check exits with 2 for corruptions, which its answer tells, and with 3 for leaks, which are only wasted space.
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && arguments[0] == "check" && (exit.ExitCode() == 2 || exit.ExitCode() == 3) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("looking into %s: %w", j.order.File, err)
	}
	if err := json.Unmarshal(answer.Bytes(), into); err != nil {
		return fmt.Errorf("looking into %s: reading the answer of qemu-img %s: %w", j.order.File, arguments[0], err)
	}
	return nil
}

// qemuImg runs qemu-img on a file that may be hostile: bounded in memory and processor time.
func qemuImg(log io.Writer, arguments ...string) tool {
	const memory, seconds = "2147483648", "900" // bytes and CPU seconds: a disk of some GiB takes a few of them
	return tool{
		name: "prlimit", title: "qemu-img " + arguments[0], log: log,
		arguments: append([]string{"--as=" + memory, "--cpu=" + seconds, "--core=0", "--", lookTool("qemu-img")}, arguments...),
	}
}

// copyFile copies and hashes.
func copyFile(ctx context.Context, from io.Reader, to string) (sum string, err error) {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(file, hash), contextReader{ctx, from}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
