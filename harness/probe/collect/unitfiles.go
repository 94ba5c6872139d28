package collect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// unitDirs are the directories in which systemd looks for units, the first that has one wins.
var unitDirs = [...]unitDir{
	{"/etc/systemd/system.control", placeOther},
	{"/run/systemd/system.control", placeRuntime},
	{"/run/systemd/transient", placeTransient},
	{"/run/systemd/generator.early", placeGenerated},
	{"/etc/systemd/system", placeConfig},
	{"/etc/systemd/system.attached", placeOther},
	{"/run/systemd/system", placeRuntime},
	{"/run/systemd/system.attached", placeRuntime},
	{"/run/systemd/generator", placeGenerated},
	{"/usr/local/lib/systemd/system", placeVendor},
	{"/usr/lib/systemd/system", placeVendor},
	{"/lib/systemd/system", placeVendor}, // the same as the last on a merged system
	{"/run/systemd/generator.late", placeGenerated},
}

type unitDir struct {
	path  string
	place unitPlace
}

type unitPlace int

const (
	placeOther unitPlace = iota
	placeConfig
	placeRuntime
	placeTransient
	placeGenerated
	placeVendor
)

const maxUnitFiles = 20_000

// unitFiles is what lies in those directories.
type unitFiles struct {
	units   map[string]*unitFile
	dropins map[string][]string   // by unit: paths of the drop-ins
	wanted  map[string][]unitLink // by the name of a link in a .wants, .requires or .upholds directory
}

// unitFile is the file that systemd takes for a name.
type unitFile struct {
	path   string
	place  unitPlace
	target string // of a symlink, else ""
	masked bool
	tokens unitTokens
}

type unitLink struct {
	target string // base name
	place  unitPlace
}

// unitTokens are the settings that facts need.
type unitTokens struct {
	kind, bus, instance string   // Type=, BusName=, DefaultInstance=
	starts              bool     // has an ExecStart=
	programs            []string // that ExecStart= runs, without the ones that may fail
	installs            bool     // has WantedBy=, RequiredBy= or Alias=
	aliases             []string // Alias=
	also                bool     // has Also=
}

func readUnitFiles(src *Source) (*unitFiles, error) {
	u := &unitFiles{units: map[string]*unitFile{}, dropins: map[string][]string{}, wanted: map[string][]unitLink{}}
	merged := false
	if info, err := os.Lstat(src.path("/lib")); err == nil {
		merged = info.Mode()&fs.ModeSymlink != 0
	}
	var errs []error
	for _, dir := range unitDirs {
		if merged && strings.HasPrefix(dir.path, "/lib/") {
			continue
		}
		errs = append(errs, u.directory(src, dir.path, dir.place))
	}
	for name, file := range u.units {
		if file.masked || !wantedUnit(name) {
			continue
		}
		errs = append(errs, u.read(src, name, file))
	}
	return u, errors.Join(errs...)
}

func (u *unitFiles) directory(src *Source, dir string, place unitPlace) error {
	entries, err := src.readDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("reading unit files: %w", err)
	}
	for _, entry := range entries {
		name, full := entry.Name(), dir+"/"+entry.Name()
		unit, kind, isDir := cutUnitDir(name)
		switch {
		case isDir && kind == ".d":
			u.readDropins(src, unit, full)
		case isDir:
			u.readWants(src, full, place)
		case u.units[name] == nil && len(u.units) < maxUnitFiles && strings.Contains(name, "."):
			file := &unitFile{path: full, place: place}
			if entry.Type()&fs.ModeSymlink != 0 {
				file.target, _ = src.readLink(full) // a link that went away is a file that cannot be read
				file.masked = file.target == "/dev/null"
			}
			u.units[name] = file
		}
	}
	return nil
}

// cutUnitDir splits the name of a directory that belongs to a unit.
func cutUnitDir(name string) (unit, kind string, ok bool) {
	for _, kind := range []string{".wants", ".requires", ".upholds", ".d"} {
		if unit, ok := strings.CutSuffix(name, kind); ok {
			return unit, kind, true
		}
	}
	return "", "", false
}

func (u *unitFiles) readDropins(src *Source, unit, dir string) {
	entries, _ := src.readDir(dir) // unreadable or a file: no drop-ins
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".conf") {
			u.dropins[unit] = append(u.dropins[unit], dir+"/"+entry.Name())
		}
	}
}

func (u *unitFiles) readWants(src *Source, dir string, place unitPlace) {
	entries, _ := src.readDir(dir) // as above
	for _, entry := range entries {
		if entry.Type()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := src.readLink(dir + "/" + entry.Name())
		if err == nil {
			u.wanted[entry.Name()] = append(u.wanted[entry.Name()], unitLink{path.Base(target), place})
		}
	}
}

// read fills in what the unit's file and its drop-ins say.
func (u *unitFiles) read(src *Source, name string, file *unitFile) error {
	if file.target != "" && path.Base(file.target) != name {
		return nil // another name of a unit: its own file is read
	}
	content, err := src.read(file.path, maxSmall)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a link to nowhere, which systemd does not load either
		}
		return fmt.Errorf("reading unit files: %w", err)
	}
	file.masked = len(content) == 0
	file.tokens.parse(content)
	for _, dropin := range u.dropins[name] {
		if content, err := src.read(dropin, maxSmall); err == nil {
			file.tokens.parse(content)
		}
	}
	return nil
}

// parse takes the settings of a unit file or of a drop-in, which comes after it.
func (t *unitTokens) parse(content []byte) {
	for line := range bytes.Lines(content) {
		if len(line) == 0 || line[0] < 'A' || line[0] > 'W' { // no setting that is wanted starts otherwise
			continue
		}
		name, rest, found := bytes.Cut(line, []byte("="))
		if !found {
			continue
		}
		value := string(bytes.TrimSpace(rest))
		switch string(bytes.TrimSpace(name)) {
		case "Type":
			t.kind = value
		case "BusName":
			t.bus = value
		case "DefaultInstance":
			t.instance = value
		case "ExecStart":
			t.starts = t.starts || value != ""
			t.start(value)
		case "WantedBy", "RequiredBy", "UpheldBy":
			t.installs = t.installs || value != ""
		case "Alias":
			t.installs = t.installs || value != ""
			t.aliases = append(t.aliases, strings.Fields(value)...)
		case "Also":
			t.also = t.also || value != ""
		}
	}
}

// start notes the program of an ExecStart=; an empty one takes back those before it.
func (t *unitTokens) start(value string) {
	if value == "" {
		t.programs = nil
		return
	}
	program, _, _ := strings.Cut(value, " ")
	bare := strings.TrimLeft(program, "@-:+!|")
	if mayFail := strings.Contains(program[:len(program)-len(bare)], "-"); !mayFail && strings.HasPrefix(bare, "/") && !strings.ContainsAny(bare, `%$"\`) {
		t.programs = append(t.programs, bare)
	}
}

// describe returns the attributes of a unit that come from its file. It is never nil.
func (u *unitFiles) describe(name string) map[string]string {
	attributes := map[string]string{}
	file := u.file(name)
	if file == nil {
		return attributes // made by the kernel's or by systemd's own doing: -.mount, proc-...
	}
	attributes["fragment"] = file.path
	attributes["enabled"] = u.enabled(name, file)
	if strings.HasSuffix(name, ".service") && !file.masked && attributes["enabled"] != "alias" {
		attributes["type"] = file.tokens.serviceType()
	}
	return attributes
}

// file finds a unit's file: its own, or for an instance the template's.
func (u *unitFiles) file(name string) *unitFile {
	if file := u.units[name]; file != nil {
		return file
	}
	return u.units[templateOf(name)]
}

// serviceType is Type=, or what systemd takes for it.
func (t *unitTokens) serviceType() string {
	switch {
	case t.kind != "":
		return t.kind
	case t.bus != "":
		return "dbus"
	case !t.starts:
		return "oneshot"
	}
	return "simple"
}

// enabled returns the unit file state as `systemctl is-enabled` names it.
func (u *unitFiles) enabled(name string, file *unitFile) string {
	switch {
	case file.masked && file.place == placeRuntime:
		return "masked-runtime"
	case file.masked:
		return "masked"
	case file.place == placeGenerated:
		return "generated"
	case file.place == placeTransient:
		return "transient"
	case file.target != "" && path.Base(file.target) != name && !isInstanceOf(name, path.Base(file.target)):
		return "alias"
	}
	config, runtime, vendor, otherInstance := u.links(name, file)
	linked := file.target != "" && !inUnitDir(file.target)
	switch {
	case config:
		return "enabled"
	case runtime:
		return "enabled-runtime"
	case vendor && templateOf(name) != "":
		return "static"
	case linked && file.place == placeConfig:
		return "linked"
	case linked && file.place == placeRuntime:
		return "linked-runtime"
	case otherInstance:
		return "indirect"
	case file.tokens.installs:
		return "disabled"
	case file.tokens.also:
		return "indirect"
	}
	return "static"
}

// links says where there are links that make systemd start a unit: those of .wants directories, and for its aliases.
func (u *unitFiles) links(name string, file *unitFile) (config, runtime, vendor, otherInstance bool) {
	note := func(place unitPlace) {
		config = config || place == placeConfig
		runtime = runtime || place == placeRuntime || place == placeGenerated
		vendor = vendor || place == placeVendor
	}
	for _, link := range u.wanted[name] {
		note(link.place)
	}
	if isTemplate(name) {
		standard := instanceOf(name, file.tokens.instance)
		for _, instance := range slices.Sorted(maps.Keys(u.wanted)) {
			if templateOf(instance) != name {
				continue
			}
			for _, link := range u.wanted[instance] {
				if instance == standard {
					note(link.place)
				} else if link.place != placeVendor {
					otherInstance = true
				}
			}
		}
	}
	for _, alias := range file.tokens.aliases {
		if link := u.units[alias]; link != nil && alias != name && path.Base(link.target) == name {
			note(link.place)
		}
	}
	return config, runtime, vendor, otherInstance
}

// linkedInstances returns the instances of templates that the administrator has enabled. They have no file of their own.
func (u *unitFiles) linkedInstances() []string {
	var names []string
	for name, links := range u.wanted {
		inConfig := slices.ContainsFunc(links, func(l unitLink) bool { return l.place == placeConfig })
		if inConfig && u.units[name] == nil && u.units[templateOf(name)] != nil {
			names = append(names, name)
		}
	}
	return names
}

func inUnitDir(target string) bool {
	dir := path.Dir(target)
	return !path.IsAbs(target) || slices.ContainsFunc(unitDirs[:], func(d unitDir) bool { return d.path == dir })
}

func isTemplate(name string) bool { return strings.Contains(name, "@.") }

// templateOf returns the template of an instance, "" for a name that is none.
func templateOf(name string) string {
	prefix, rest, found := strings.Cut(name, "@")
	dot := strings.LastIndexByte(rest, '.')
	if !found || dot <= 0 {
		return ""
	}
	return prefix + "@" + rest[dot:]
}

func instanceOf(template, instance string) string {
	return strings.Replace(template, "@.", "@"+instance+".", 1)
}

func isInstanceOf(name, template string) bool { return templateOf(name) == template }
