package atomicfile

import "golang.org/x/sys/unix"

// Free is the space in bytes that an ordinary user may still take of the disk of a folder; ok is false where it is not known.
func Free(dir string) (n int64, ok bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * s.Bsize, true
}
