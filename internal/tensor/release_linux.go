package tensor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Release tells the system that a part of Data has been read, so that the process need not hold it. Bytes that are not a view of a
// mapped file stay as they are.
func (t Tensor) Release(part []byte) {
	const page = 4096
	if len(part) < 2*page || len(t.mapped) == 0 {
		return
	}
	begin, file := uintptr(unsafe.Pointer(&part[0])), uintptr(unsafe.Pointer(&t.mapped[0]))
	if begin < file || begin+uintptr(len(part)) > file+uintptr(len(t.mapped)) {
		return
	}
	first := int(-begin % page)
	if n := (len(part) - first) &^ (page - 1); n > 0 {
		_ = unix.Madvise(part[first:first+n], unix.MADV_DONTNEED) // advice; the file has the bytes
	}
}
