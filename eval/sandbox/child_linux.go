//go:build amd64 || arm64

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The files that the outside gives to the inside.
const (
	specFile  = 3
	faultFile = 4
)

// Child is the inside: it builds the walls and becomes the interpreter. It returns only when that fails.
func Child() int {
	runtime.LockOSThread() // privileges and filters belong to threads; this one will execute the program
	debug.SetGCPercent(-1) // the runtime must ask for no memory between its limit and the execution
	in, fault := os.NewFile(specFile, "spec"), os.NewFile(faultFile, "fault")
	unix.CloseOnExec(faultFile)
	var s spec
	err := json.NewDecoder(in).Decode(&s)
	in.Close()
	if err == nil {
		err = s.enter()
	}
	fmt.Fprint(fault, err)
	return 1
}

// programPath is the program inside.
const programPath = "/tmp/program.py"

func (s *spec) enter() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"file system", s.fileSystem},
		{"host name", func() error { return unix.Sethostname([]byte("sandbox")) }},
		{"interpreter", func() error { return unix.Access(s.Python.Path, unix.X_OK) }},
		{"no new privileges", func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }},
		{"privileges", s.drop},
		{"landlock", s.landlock},
		{"open files", func() error { return unix.CloseRange(3, ^uint(0)>>1&0x7fffffff, unix.CLOSE_RANGE_CLOEXEC) }},
		{"seccomp", seccomp},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return s.execute()
}

// execute becomes the interpreter under its limits. Everything is laid out before, because the Go runtime may not fit
// into them.
func (s *spec) execute() error {
	path, err := unix.BytePtrFromString(s.Python.Path)
	if err != nil {
		return err
	}
	args, err := syscall.SlicePtrFromStrings([]string{s.Python.Path, "-B", "-s", programPath})
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings([]string{"PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONSAFEPATH=1"})
	if err != nil {
		return err
	}
	for _, l := range s.limits() {
		r := unix.Rlimit{Cur: l.max, Max: l.max}
		if _, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(l.resource), uintptr(unsafe.Pointer(&r)), 0, 0, 0); errno != 0 {
			return errno
		}
	}
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&env[0])))
	return errno
}

// system are the folders of a distribution that hold programs and libraries, and nobody's data.
var system = []string{"/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/etc/ld.so.cache"}

// devices are those that programs count on.
var devices = []string{"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}

// fileSystem builds a root of read-only views and an empty /tmp, and moves into it.
func (s *spec) fileSystem() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cut off from the outside: %w", err)
	}
	if err := unix.Mount("tmpfs", s.Root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	readOnly := uint64(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	for _, p := range s.views() {
		if err := s.bind(p, readOnly); err != nil {
			return err
		}
	}
	for _, p := range devices {
		if err := s.bind(p, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return err
		}
	}
	tmp := filepath.Join(s.Root, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", tmp, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("size=%d,mode=1777", s.Limits.Disk+int64(len(s.Source)))); err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.Root, programPath), []byte(s.Source), 0o444); err != nil {
		return err
	}
	// With both arguments the same, the old root ends up stacked over the new one, and is taken off.
	if err := errors.Join(os.Chdir(s.Root), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/tmp")); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: readOnly})
}

// views are the folders to show, each once: parents hold their children.
func (s *spec) views() []string {
	var views []string
	for _, p := range slices.Concat(system, s.Python.Roots) {
		inside := slices.ContainsFunc(views, func(v string) bool { return p == v || strings.HasPrefix(p, v+"/") })
		if !inside && filepath.IsAbs(p) && p != "/" {
			views = append(views, p)
		}
	}
	return views
}

// bind shows a path of the outside at the same place inside. What does not exist is not shown; a link is a link again.
func (s *spec) bind(path string, attr uint64) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	at := filepath.Join(s.Root, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return os.Symlink(to, at)
	case info.IsDir():
		err = os.MkdirAll(at, 0o755)
	default:
		err = os.WriteFile(at, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(path, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, at, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr}); err != nil {
		return fmt.Errorf("protect %s: %w", path, err)
	}
	return nil
}

type limit struct {
	resource int
	max      uint64
}

// limits bound what one process may use; as it cannot fork, it is the only one. The address space is last.
func (s *spec) limits() []limit {
	return []limit{
		{unix.RLIMIT_CPU, uint64((s.Limits.CPU + time.Second - 1) / time.Second)},
		{unix.RLIMIT_FSIZE, uint64(s.Limits.Disk)},
		{unix.RLIMIT_NOFILE, 64},
		{unix.RLIMIT_NPROC, 64}, // threads
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_MEMLOCK, 0},
		{unix.RLIMIT_MSGQUEUE, 0},
		{unix.RLIMIT_AS, uint64(s.Limits.Memory)},
	}
}

// drop gives up all privileges for good, also those that executing as user 0 would give back.
func (s *spec) drop() error {
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, secureNoRoot, 0, 0, 0); err != nil {
		return fmt.Errorf("secure bits: %w", err)
	}
	for c := uintptr(0); unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) == nil; c++ {
	}
	if s.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(s.UID, s.UID, s.UID), syscall.Setresuid(s.UID, s.UID, s.UID)); err != nil {
			return fmt.Errorf("become user %d: %w", s.UID, err)
		}
	}
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}

// secureNoRoot is SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP off, SECBIT_NO_CAP_AMBIENT_RAISE, and the locks of the set ones.
const secureNoRoot = 1<<0 | 1<<1 | 1<<6 | 1<<7

// landlock forbids every file outside the views, every TCP port, and signals and abstract sockets to the outside, as far
// as the kernel's version of it goes; version 1 has the files.
func (s *spec) landlock() error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return fmt.Errorf("not in this kernel: %w", errno)
	}
	const read = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	const files = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	all := uint64(unix.LANDLOCK_ACCESS_FS_REFER - 1) // the thirteen rights of version 1
	attr := unix.LandlockRulesetAttr{}
	if abi >= 2 {
		all |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		all |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	size := unsafe.Offsetof(attr.Handled_access_net)
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size = unsafe.Offsetof(attr.Scoped)
	}
	if abi >= 5 {
		all |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = unsafe.Offsetof(attr.Quiet_access_fs)
	}
	attr.Handled_access_fs = all
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("rule set: %w", errno)
	}
	defer unix.Close(int(set))
	allow := func(paths []string, rights uint64) error {
		for _, p := range paths {
			if err := allowPath(int(set), p, rights); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(allow(s.views(), read), allow(devices, files), allow([]string{"/tmp"}, all&^(unix.LANDLOCK_ACCESS_FS_EXECUTE|unix.LANDLOCK_ACCESS_FS_IOCTL_DEV))); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return fmt.Errorf("restrict: %w", errno)
	}
	return nil
}

func allowPath(set int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("%s: %w", path, errno)
	}
	return nil
}
