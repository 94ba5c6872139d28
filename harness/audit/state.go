package audit

import (
	"path"
	"strconv"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/grub"
)

// state is one set of facts, as the rules ask it.
type state struct {
	set    fact.Set
	config fact.Fact // the boot loader's, without attributes where there is none
	menu   *grub.Menu
	entry  *grub.Entry // the default one; nil if there is none, or if it starts no Linux
}

func newState(set fact.Set) *state {
	s := &state{set: set}
	s.config = s.get("loader")
	s.menu = grub.Parse([]byte(s.config.Attribute("text")))
	s.entry, _ = s.menu.Choose(map[string]string{
		"saved_entry": s.config.Attribute("saved_entry"), "next_entry": s.config.Attribute("next_entry"),
	})
	return s
}

func (s *state) get(name string) fact.Fact {
	f, _ := s.set.Get(fact.KindBoot, name)
	return f
}

func (s *state) has(name string) bool {
	_, there := s.set.Get(fact.KindBoot, name)
	return there
}

// named returns the facts whose names begin so, with the rest of their names.
func (s *state) named(prefix string) map[string]fact.Fact {
	found := map[string]fact.Fact{}
	for _, f := range s.set.OfKind(fact.KindBoot) {
		if rest, ok := strings.CutPrefix(f.Name, prefix); ok {
			found[rest] = f
		}
	}
	return found
}

// hasLoader tells whether there is a GRUB: of other boot loaders nothing is known.
func (s *state) hasLoader() bool { return s.config.Attribute("config") != "" }

// fileOf returns what is known of a file that an entry names, and its path in the guest.
func (s *state) fileOf(e *grub.Entry, name string) (fact.Fact, string) {
	full := s.get("named (" + e.Search + ")" + name).Attribute("path")
	if full == "" {
		full = name
	}
	return s.get("file " + full), full
}

// kernelName is how a kernel calls itself by its file: what stands behind vmlinuz-.
func kernelName(file string) (string, bool) {
	for _, prefix := range []string{"vmlinuz-", "vmlinux-"} {
		if name, ok := strings.CutPrefix(path.Base(file), prefix); ok && name != "" {
			return name, true
		}
	}
	return "", false
}

// releaseOf is the kernel that an entry starts, by its file's name, or by what it says itself where that is a link.
func (s *state) releaseOf(e *grub.Entry) string {
	kernel, full := s.fileOf(e, e.Linux)
	if name, ok := kernelName(full); ok {
		return name
	}
	return kernel.Attribute("release")
}

func list(commas string) []string {
	if commas == "" {
		return nil
	}
	return strings.Split(commas, ",")
}

// number reads one that the probe wrote; 0 where it did not.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func isCut(f fact.Fact) bool { return strings.HasPrefix(f.Attribute("state"), "cut off") }

func isMissing(f fact.Fact) bool { return f.Attribute("state") == "missing" }
