package quantize

import "golang.org/x/sys/unix"

// diskFree is the space in bytes that a folder's disk has left for us.
func diskFree(dir string) (int64, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * s.Bsize, true
}
