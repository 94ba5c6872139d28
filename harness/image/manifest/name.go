package manifest

import "fmt"

// CheckName tells whether an image may have the name.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q is no name for an image: want lower-case letters, digits and dashes", name)
	}
	return nil
}
