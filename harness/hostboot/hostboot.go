// Package hostboot keeps answers that hold until the host boots again: after that it may be another machine below this one.
package hostboot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

const idFile = "/proc/sys/kernel/random/boot_id"

// ID names the boot of this host.
func ID() (string, error) {
	id, err := os.ReadFile(idFile)
	if err != nil {
		return "", fmt.Errorf("reading the host's boot id: %w", err)
	}
	return string(bytes.TrimSpace(id)), nil
}

// Answer is a file that holds one answer, of type T.
type Answer[T any] struct {
	Dir  string // made on demand; empty keeps nothing
	Name string // of the file, without extension
	Key  string // everything that the answer depends on, the boot among it
}

type entry[T any] struct {
	Key    string `json:"key"`
	Answer *T     `json:"answer"` // nil in a file of an older patchlab, which had another name for it
}

func (a Answer[T]) path() string { return filepath.Join(a.Dir, a.Name+".json") }

// Read returns the answer if there is one for the key. A file that cannot be read is no answer: asking again writes it anew.
func (a Answer[T]) Read() (answer T, found bool) {
	if a.Dir == "" {
		return answer, false
	}
	content, err := os.ReadFile(a.path())
	if err != nil {
		return answer, false
	}
	var kept entry[T]
	if err := json.Unmarshal(content, &kept); err != nil || kept.Key != a.Key || kept.Answer == nil {
		return answer, false
	}
	return *kept.Answer, true
}

// Write keeps an answer in place of any other, whole or not at all.
func (a Answer[T]) Write(answer T) error {
	if a.Dir == "" {
		return nil
	}
	act := "keeping what was found out about this host"
	content, err := json.MarshalIndent(entry[T]{Key: a.Key, Answer: &answer}, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if err := os.MkdirAll(a.Dir, 0o755); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	temporary, err := os.CreateTemp(a.Dir, a.Name+"-*.new")
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	_, err = temporary.Write(content)
	if closing := temporary.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temporary.Name(), a.path())
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // the error above says more
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

// Forget removes what was kept.
func (a Answer[T]) Forget() {
	if a.Dir != "" {
		_ = os.Remove(a.path()) // what stays is written anew
	}
}
