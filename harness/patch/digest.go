package patch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/scenario"
)

// Digest covers all that an increment is: its keys and the content of every payload file, those of package sources included.
// Paths are relative to dir. What the archive's suites hold is not covered.
func Digest(dir string, increment scenario.Increment) (string, error) {
	keys, err := json.Marshal(increment)
	if err != nil {
		return "", fmt.Errorf("hashing increment %s: %w", increment.Name, err)
	}
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%s\n", keys) // a hash never fails
	payload := append([]string{}, increment.Packages...)
	for _, f := range increment.Files {
		payload = append(payload, f.From)
	}
	if increment.Script != "" {
		payload = append(payload, increment.Script)
	}
	for _, name := range payload {
		if err := hashPayload(hash, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return "", fmt.Errorf("hashing %s of increment %s: %w", name, increment.Name, err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// hashPayload hashes a file, or every file below a directory with its name.
func hashPayload(to io.Writer, root string) error {
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if entry.Type() == fs.ModeSymlink && name != root { // a link in a package's source is a link in the package
			link, err := os.Readlink(name)
			_, _ = fmt.Fprintf(to, "link %q %q\n", inside, link)
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(to, "file %q %x\n", inside, sha256.Sum256(content))
		return nil
	})
}
