// Package ovmf finds the EFI firmware that QEMU starts guests with: OVMF, as distributions package it.
package ovmf

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrMissing is wrapped when this host has no firmware that fits.
var ErrMissing = errors.New("no EFI firmware for guests is installed")

// Package is Debian's package that has the firmware.
const Package = "ovmf"

// Firmware is the firmware's code and the memory for its variables, in which nothing is set. Both are read-only files.
type Firmware struct {
	Code, Variables string
}

// places lists where distributions put firmware without Secure Boot, which would need another machine type and refuse the
// unsigned boot loaders of test guests. The first that exists is taken.
func places() []Firmware {
	return []Firmware{
		pair("/usr/share/OVMF/OVMF_", "CODE_4M.fd", "VARS_4M.fd"),             // Debian, Ubuntu
		pair("/usr/share/OVMF/OVMF_", "CODE.fd", "VARS.fd"),                   // the same, smaller: for variables of that size
		pair("/usr/share/edk2/ovmf/OVMF_", "CODE.fd", "VARS.fd"),              // Fedora, RHEL
		pair("/usr/share/edk2/x64/OVMF_", "CODE.4m.fd", "VARS.4m.fd"),         // Arch
		pair("/usr/share/qemu/ovmf-x86_64-", "4m-code.bin", "4m-vars.bin"),    // openSUSE
		pair("/usr/share/qemu/ovmf-x86_64-", "code.bin", "vars.bin"),          // the same, smaller
		pair("/usr/share/edk2-ovmf/OVMF_", "CODE.fd", "VARS.fd"),              // Gentoo
		pair("/usr/share/qemu/edk2-", "x86_64-code.fd", "i386-vars.fd"),       // what QEMU itself brings
		pair("/usr/local/share/qemu/edk2-", "x86_64-code.fd", "i386-vars.fd"), // the same, built by hand
	}
}

func pair(stem, code, variables string) Firmware {
	return Firmware{Code: stem + code, Variables: stem + variables}
}

// Find returns the firmware to which variables of a size in bytes belong; with 0 any firmware will do. The error wraps
// [ErrMissing] and says the remedy.
func Find(size int64) (Firmware, error) {
	return FindOn(func(path string) (int64, error) {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}, size)
}

// FindOn is [Find] on a machine whose files sizeOf knows; its error means that there is no such file.
func FindOn(sizeOf func(path string) (int64, error), size int64) (Firmware, error) {
	var others []string
	for _, f := range places() {
		if _, err := sizeOf(f.Code); err != nil {
			continue
		}
		variables, err := sizeOf(f.Variables)
		if err != nil {
			continue
		}
		if size == 0 || variables == size {
			return f, nil
		}
		others = append(others, fmt.Sprintf("%s has %d", f.Variables, variables))
	}
	if len(others) > 0 {
		return Firmware{}, fmt.Errorf("%w that fits variables of %d bytes (%s); rebuild the image, or install the firmware that "+
			"it was built with", ErrMissing, size, strings.Join(others, ", "))
	}
	return Firmware{}, fmt.Errorf("%w; on Debian: apt-get install --no-install-recommends %s", ErrMissing, Package)
}
