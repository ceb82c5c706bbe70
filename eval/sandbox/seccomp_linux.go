//go:build amd64 || arm64

package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are system calls that no exercise needs and that reach far into the kernel.
var forbidden = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERSONALITY, unix.SYS_ACCT, unix.SYS_QUOTACTL,
}

// Offsets in struct seccomp_data; arguments are 64 bits, little endian.
const (
	offNumber = 0
	offArch   = 4
	offArg0   = 16
)

// seccomp forbids processes (threads are allowed), sockets other than local ones, and what is in forbidden. The filter
// holds for this thread and what it executes.
func seccomp() error {
	deny := func(errno unix.Errno) unix.SockFilter { return ret(unix.SECCOMP_RET_ERRNO | uint32(errno)) }
	f := []unix.SockFilter{
		load(offArch), jump(unix.BPF_JEQ, arch, 1, 0), ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offNumber),
		jump(unix.BPF_JGE, 1<<30, 0, 1), deny(unix.ENOSYS), // the x32 numbers of amd64
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), deny(unix.ENOSYS), // its flags cannot be read here; libraries fall back to clone
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4), load(offArg0), jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1), ret(unix.SECCOMP_RET_ALLOW), deny(unix.EPERM),
	}
	for _, n := range []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
		f = append(f, jump(unix.BPF_JEQ, n, 0, 4), load(offArg0), jump(unix.BPF_JEQ, unix.AF_UNIX, 0, 1), ret(unix.SECCOMP_RET_ALLOW), deny(unix.EPERM))
	}
	for _, list := range [][]uint32{forbidden, forks} {
		for _, n := range list {
			f = append(f, jump(unix.BPF_JEQ, n, 0, 1), deny(unix.EPERM))
		}
	}
	f = append(f, ret(unix.SECCOMP_RET_ALLOW))
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("filter: %w", errno)
	}
	return nil
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump compares the loaded word with k and skips that many instructions.
func jump(op uint16, k uint32, ifTrue, ifFalse uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: ifTrue, Jf: ifFalse}
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
