package image

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Flatten puts the disk of an image, with those that it stands on, into a raw file, and returns its size in bytes. The file has holes
// where the disk has nothing.
func (i Image) Flatten(ctx context.Context, to string) (size int64, err error) {
	convert := tool{
		name: "qemu-img", arguments: []string{"convert", "-q", "-f", "qcow2", "-O", "raw", "-W", i.Disk, to}, log: io.Discard,
	}
	if err := convert.run(ctx); err != nil {
		return 0, fmt.Errorf("flattening the disk of %s: %w", i.Name, err)
	}
	info, err := os.Stat(to)
	if err != nil {
		return 0, fmt.Errorf("flattening the disk of %s: %w", i.Name, err)
	}
	return info.Size(), nil
}
