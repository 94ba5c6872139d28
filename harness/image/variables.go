package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/hypervisor"
)

// variablesFile has the EFI variables of an image, beside its disk.
const variablesFile = "variables.fd"

// variables are those of one boot of the build: they begin as the firmware's own.
func (j *buildJob) variables(boot string) hypervisor.Variables {
	if j.manifest.Firmware != hypervisor.EFI {
		return hypervisor.Variables{}
	}
	return hypervisor.Variables{Path: j.workshop.file(boot + ".fd")}
}

// keepVariables makes what the firmware has settled in the check boot the image's: that it found the disk, and in which order it
// tries what else there is. The domain is off afterwards.
func (m *machine) keepVariables(ctx context.Context) error {
	if m.spec.Variables.Path == "" {
		return nil
	}
	if err := m.domain.Destroy(ctx); err != nil {
		return err
	}
	content, err := os.ReadFile(m.spec.Variables.Path)
	if err != nil {
		return fmt.Errorf("keeping the EFI variables: %w", err)
	}
	if err := os.WriteFile(m.job.workshop.file(variablesFile), content, 0o644); err != nil {
		return fmt.Errorf("keeping the EFI variables: %w", err)
	}
	return nil
}

// checkVariables hashes the EFI variables, which are small. It returns a [*DamagedError] if they are not what was built.
func checkVariables(ctx context.Context, image Image) error {
	if image.Variables == "" {
		return nil
	}
	sum, err := hashFile(ctx, image.Variables)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &DamagedError{Name: image.Name, Disk: image.Variables, Reason: "is missing"}
	case err != nil:
		return fmt.Errorf("checking image %s: %w", image.Name, err)
	case sum != image.VariablesSHA256:
		return &DamagedError{Name: image.Name, Disk: image.Variables, Reason: "has another SHA-256 than when it was built"}
	}
	return nil
}

// variablesBeside returns where the image's EFI variables lie if it has any.
func (i Image) variablesBeside(disk string) string {
	if i.VariablesSHA256 == "" {
		return ""
	}
	return VariablesBeside(disk)
}

// VariablesBeside returns where the EFI variables of a disk lie that is to become an image.
func VariablesBeside(disk string) string { return filepath.Join(filepath.Dir(disk), variablesFile) }
