//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tune/internal/hint"
)

// FindPython looks for python3 in PATH, asks it where it lives, and runs one line in the sandbox. Its error says why
// nothing can be run here.
func FindPython(ctx context.Context) (Python, error) {
	const ask = "import json, sys, sysconfig; print(json.dumps([getattr(sys, '_base_executable', None) or sys.executable, sys.base_prefix, sys.base_exec_prefix, sysconfig.get_paths()['stdlib']]))"
	out, err := exec.CommandContext(ctx, "python3", "-I", "-c", ask).Output()
	if err != nil {
		return Python{}, hint.Errorf("install Python 3", "generated code needs an interpreter, but python3 does not run: %w", err)
	}
	var answer []string
	if err := json.Unmarshal(out, &answer); err != nil || len(answer) != 4 {
		return Python{}, fmt.Errorf("python3: expected it to say where it is installed, found %q", out)
	}
	path, err := filepath.EvalSymlinks(answer[0])
	if err != nil {
		return Python{}, fmt.Errorf("python3: %w", err)
	}
	py := Python{Path: path, Roots: append(answer[1:], filepath.Dir(path))}
	r, err := Run(ctx, Program{Python: py, Source: "print(6 * 7)"})
	if err != nil {
		return Python{}, err
	}
	if !r.OK() || r.Stdout != "42\n" {
		return Python{}, fmt.Errorf("%s: expected 42 from its first program in the sandbox, found %q, %s", path, r.Stdout, r.Stderr)
	}
	return py, nil
}

// childArg starts the executable as the inside of a sandbox.
const childArg = "__sandbox__"

// IsChild tells whether the command line is that of a sandbox being built.
func IsChild(args []string) bool { return len(args) == 2 && args[1] == childArg }

// spec is what the outside tells the inside.
type spec struct {
	Program
	Root string // an empty folder to build the file system in
	UID  int    // to become, 0: stay who one is
}

// nobody is the user that a sandbox of root runs as: limits on processes do not hold for root.
const nobody = 65534

// Run runs a program to its end. An error means that it was not run, or that ctx ended.
func Run(ctx context.Context, p Program) (Result, error) {
	p.Limits = p.Limits.orDefault()
	root, err := os.MkdirTemp("", "tune-sandbox-")
	if err != nil {
		return Result{}, fmt.Errorf("sandbox: %w", err)
	}
	defer os.Remove(root) // a mount point of another namespace: empty here
	s := spec{Program: p, Root: root}
	if os.Geteuid() == 0 && mapped(nobody) {
		s.UID = nobody
	}
	text, err := json.Marshal(s)
	if err != nil {
		return Result{}, fmt.Errorf("sandbox: %w", err)
	}
	limited, stop := context.WithTimeout(ctx, p.Limits.Wall)
	defer stop()
	x := &run{cmd: exec.CommandContext(limited, "/proc/self/exe"), limited: limited, stop: stop}
	return x.do(ctx, text, s)
}

// run is one program under way.
type run struct {
	cmd     *exec.Cmd
	limited context.Context // ends with the wall time
	stop    context.CancelFunc
	mu      sync.Mutex
	flowed  bool // too much output
}

func (x *run) do(ctx context.Context, text []byte, s spec) (Result, error) {
	in, tell, err := os.Pipe()
	if err != nil {
		return Result{}, fmt.Errorf("sandbox: %w", err)
	}
	defer in.Close()
	defer tell.Close()
	hear, fault, err := os.Pipe()
	if err != nil {
		return Result{}, fmt.Errorf("sandbox: %w", err)
	}
	defer hear.Close()
	defer fault.Close()
	stdout, stderr := &bounded{run: x, left: s.Limits.Output}, &bounded{run: x, left: s.Limits.Output}
	x.cmd.Args = []string{os.Args[0], childArg}
	x.cmd.Env = []string{}
	x.cmd.Stdout, x.cmd.Stderr = stdout, stderr
	x.cmd.ExtraFiles = []*os.File{in, fault}
	x.cmd.SysProcAttr = attributes(s.UID)
	x.cmd.WaitDelay = time.Second
	runtime.LockOSThread() // Pdeathsig is sent when the thread ends that started the child
	defer runtime.UnlockOSThread()
	if err := x.cmd.Start(); err != nil {
		return Result{}, unsupported(fmt.Errorf("start in new namespaces: %w", err))
	}
	in.Close()
	fault.Close()
	_, sent := tell.Write(text)
	tell.Close()
	message, _ := io.ReadAll(io.LimitReader(hear, 1<<12))
	ended := x.cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case len(message) > 0:
		return Result{}, unsupported(errors.New(string(message)))
	case sent != nil:
		return Result{}, fmt.Errorf("sandbox: %w", sent)
	case ended != nil && !errors.As(ended, &exit) && !errors.Is(ended, context.DeadlineExceeded) && !errors.Is(ended, context.Canceled):
		return Result{}, fmt.Errorf("sandbox: %w", ended)
	}
	state := x.cmd.ProcessState
	r := Result{Exit: state.ExitCode(), Stdout: stdout.buf.String(), Stderr: stderr.buf.String(), CPU: state.UserTime() + state.SystemTime()}
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() && w.Signal() == syscall.SIGKILL {
		r.Stopped = x.reason(r.CPU, s.Limits)
	}
	return r, nil
}

// tick is how far the kernel's clock of a process may lag behind the limit that it enforced.
const tick = 200 * time.Millisecond

// reason says why a program was killed.
func (x *run) reason(cpu time.Duration, l Limits) string {
	switch {
	case x.flowed:
		return "output"
	case x.limited.Err() != nil:
		return "wall time"
	case cpu+tick >= l.CPU:
		return "processor time"
	}
	return "the system, out of memory"
}

// bounded keeps the beginning of what is written, and ends the run when there is more. (The buffer is not embedded: its
// ReadFrom would go around the bound.)
type bounded struct {
	buf  bytes.Buffer
	run  *run
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.buf.Write(p[:n])
	b.left -= n
	if n < len(p) {
		b.run.mu.Lock()
		b.run.flowed = true
		b.run.mu.Unlock()
		b.run.stop()
	}
	return len(p), nil
}

// attributes puts the child into namespaces of its own, where it is root over nothing but itself.
func attributes(uid int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	if uid != 0 {
		a.UidMappings = append(a.UidMappings, syscall.SysProcIDMap{ContainerID: uid, HostID: uid, Size: 1})
		a.GidMappings = append(a.GidMappings, syscall.SysProcIDMap{ContainerID: uid, HostID: uid, Size: 1})
		a.GidMappingsEnableSetgroups = true
	}
	return a
}

// mapped tells whether a user and group id exists in the namespace that we are in.
func mapped(id int) bool {
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		found := false
		for line := range strings.Lines(string(text)) {
			var first, outside, count int
			if _, err := fmt.Sscan(line, &first, &outside, &count); err == nil && id >= first && id-first < count {
				found = true
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// unsupported says why nothing is run.
func unsupported(err error) error {
	return hint.Errorf("the kernel must allow unprivileged user namespaces (on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0; "+
		"in Docker: --security-opt seccomp=unconfined) and landlock (Linux 5.13 or later)", "generated code is not run: the sandbox cannot be built here: %w", err)
}
