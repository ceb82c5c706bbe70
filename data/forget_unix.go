//go:build unix

package data

import "golang.org/x/sys/unix"

// forget gives the memory of a mapped file back; what is read of it again comes from the system's cache of files. Without it a
// process that goes through a file of any size grows to that size, until the system takes the pages away.
func forget(mapped []byte) {
	if len(mapped) > 0 {
		unix.Madvise(mapped, unix.MADV_DONTNEED) // advice: it may be ignored
	}
}
