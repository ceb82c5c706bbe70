package quantize

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// diskFree is the space in bytes that a folder's disk has left for us.
func diskFree(dir string) (int64, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * s.Bsize, true
}

// release tells the system that a part of a mapped file has been read, so that it need not stay in memory. Nothing is lost
// when the bytes are ordinary memory.
func release(b []byte) {
	const page = 4096
	if len(b) < 2*page {
		return
	}
	first := int(-uintptr(unsafe.Pointer(&b[0])) % page)
	if n := (len(b) - first) &^ (page - 1); n > 0 {
		_ = unix.Madvise(b[first:first+n], unix.MADV_PAGEOUT) // advice
	}
}
