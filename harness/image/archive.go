package image

import (
	"archive/tar"
	"fmt"
	"io"
	"strings"
	"time"
)

// writeArchive writes files as a tar archive. Owners are names, which tar resolves in the root that it extracts into.
func writeArchive(to io.Writer, files []rootFile, now time.Time) error {
	archive := tar.NewWriter(to)
	for _, f := range files {
		user, group, _ := strings.Cut(f.owner, ":")
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.path, "/"), Mode: f.mode, Size: int64(len(f.content)),
			Uname: user, Gname: group, ModTime: now.Truncate(time.Second),
		}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("packing %s: %w", f.path, err)
		}
		if _, err := io.WriteString(archive, f.content); err != nil {
			return fmt.Errorf("packing %s: %w", f.path, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("packing files: %w", err)
	}
	return nil
}
