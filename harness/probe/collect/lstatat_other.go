//go:build !amd64

package collect

import "golang.org/x/sys/unix"

// lstatat is fstatat(2) of a name itself.
func lstatat(dir int, name string, stat *unix.Stat_t) error {
	return unix.Fstatat(dir, name, stat, unix.AT_SYMLINK_NOFOLLOW)
}
