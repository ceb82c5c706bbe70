//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// withoutNamespaces is the argument with which the test binary asks for a sandbox where no namespace can be made.
const withoutNamespaces = "__without_namespaces__"

func TestMain(m *testing.M) {
	if IsChild(os.Args) {
		os.Exit(Child())
	}
	if len(os.Args) == 2 && os.Args[1] == withoutNamespaces {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			fmt.Println("cannot forbid them:", err)
			os.Exit(0)
		}
		_, err := FindPython(context.Background())
		fmt.Println(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func python(t *testing.T) Python {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 to run programs with")
	}
	py, err := FindPython(t.Context())
	if err != nil {
		t.Skip("no sandbox on this machine: ", err)
	}
	return py
}

func TestRun(t *testing.T) {
	py := python(t)
	secret := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(secret, []byte("the secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TUNE_TEST_SECRET", "the secret")
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	port := server.Addr().(*net.TCPAddr).Port
	// attempt prints what a statement raises, or that nothing stopped it.
	attempt := func(statement string) string {
		return "import os, socket, subprocess, ctypes, threading, errno\ntry:\n    " + strings.ReplaceAll(statement, "\n", "\n    ") + "\n    print('NOTHING STOPPED IT')\nexcept BaseException as e:\n    print('OSError' if isinstance(e, OSError) else type(e).__name__, flush=True)\n"
	}
	for _, c := range []struct {
		name, source string
		limits       Limits
		stdout       string
		exit         int
		stopped      string
	}{
		{name: "a right program", source: "import math, re, collections, itertools, json, random, heapq, datetime, decimal\nprint(math.factorial(20))", stdout: "2432902008176640000\n"},
		{name: "a wrong program", source: "assert 1 == 2", exit: 1},
		{name: "a program that is none", source: "def f(:", exit: 1},
		{name: "threads", source: "import threading\nt = threading.Thread(target=print, args=('hello',))\nt.start(); t.join()", stdout: "hello\n"},
		{name: "files of its own", source: "open('a', 'w').write('x' * 1000)\nprint(len(open('/tmp/a').read()))", stdout: "1000\n"},
		{name: "hashes are the same every time", source: "print(hash('a') == hash('a'), len({'b', 'a', 'c'}))", stdout: "True 3\n"},

		{name: "network: internet sockets", source: attempt("socket.socket(socket.AF_INET, socket.SOCK_STREAM)"), stdout: "OSError\n"},
		{name: "network: the machine itself", source: attempt(fmt.Sprintf("socket.create_connection(('127.0.0.1', %d), 2)", port)), stdout: "OSError\n"},
		{name: "network: datagrams", source: attempt("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"), stdout: "OSError\n"},
		{name: "network: no interface is up", source: attempt("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"), stdout: "OSError\n"},

		{name: "reading: home", source: attempt(fmt.Sprintf("os.listdir(%q + '/.ssh')", home)), stdout: "OSError\n"},
		{name: "reading: a file of ours", source: attempt(fmt.Sprintf("open(%q).read()", secret)), stdout: "OSError\n"},
		{name: "reading: accounts", source: attempt("open('/etc/passwd').read()"), stdout: "OSError\n"},
		{name: "reading: processes", source: attempt("os.listdir('/proc')"), stdout: "OSError\n"},
		{name: "reading: environment", source: "import os\nprint(os.environ.get('TUNE_TEST_SECRET'), len(os.environ))", stdout: "None 5\n"},
		{name: "reading: open files", source: "import os\ndef isopen(f):\n    try:\n        os.fstat(f)\n        return True\n    except OSError:\n        return False\nprint([f for f in range(64) if isopen(f)])", stdout: "[0, 1, 2]\n"},

		{name: "writing: the root", source: attempt("open('/x', 'w')"), stdout: "OSError\n"},
		{name: "writing: libraries", source: attempt("open('/usr/lib/x', 'w')"), stdout: "OSError\n"},
		{name: "writing: the interpreter", source: attempt(fmt.Sprintf("open(%q, 'ab')", py.Path)), stdout: "OSError\n"},
		{name: "writing: a mount", source: attempt("libc = ctypes.CDLL(None, use_errno=True)\nif libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None): raise OSError(ctypes.get_errno(), '')"), stdout: "OSError\n"},
		{name: "writing: a large file", source: attempt("open('/tmp/a', 'wb').write(bytes(8 << 20))"), limits: Limits{Disk: 1 << 20}, stdout: "OSError\n"},
		{name: "writing: many files", source: attempt("for i in range(64): open(f'/tmp/{i}', 'wb').write(bytes(1 << 18))"), limits: Limits{Disk: 1 << 20}, stdout: "OSError\n"},

		{name: "processes: fork bomb", source: "import os\nwhile True:\n    os.fork()", exit: 1},
		{name: "processes: fork", source: attempt("os.fork()"), stdout: "OSError\n"},
		{name: "processes: programs", source: attempt("subprocess.run(['/bin/true'])"), stdout: "OSError\n"},
		{name: "processes: threads without end", source: attempt("while True: threading.Thread(target=threading.Event().wait, daemon=True).start()") + "os._exit(0)", stdout: "RuntimeError\n"},
		{name: "processes: new namespaces", source: attempt("libc = ctypes.CDLL(None, use_errno=True)\nif libc.unshare(0x10000000): raise OSError(ctypes.get_errno(), '')"), stdout: "OSError\n"},
		{name: "processes: who we are", source: "import os\nprint(os.getpid(), os.getppid())", stdout: "1 0\n"},

		{name: "memory", source: attempt("bytearray(3 << 30)"), stdout: "MemoryError\n"},
		{name: "memory without end", source: "a = []\nwhile True:\n    a.append(bytes(1 << 20))", limits: Limits{Memory: 128 << 20}, exit: 1},
		{name: "an endless loop", source: "while True: pass", limits: Limits{CPU: time.Second}, exit: -1, stopped: "processor time"},
		{name: "an endless sleep", source: "import time\ntime.sleep(1000)", limits: Limits{Wall: time.Second}, exit: -1, stopped: "wall time"},
		{name: "deaf to signals", source: "import signal, time\nfor s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)\ntime.sleep(1000)", limits: Limits{Wall: time.Second}, exit: -1, stopped: "wall time"},
		{name: "output without end", source: "while True: print('x' * 1000)", limits: Limits{Output: 10}, stdout: "xxxxxxxxxx", exit: -1, stopped: "output"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Run(t.Context(), Program{Python: py, Source: c.source, Limits: c.limits})
			if err != nil {
				t.Fatal(err)
			}
			if r.Stdout != c.stdout || r.Exit != c.exit || r.Stopped != c.stopped {
				t.Errorf("expected exit %d, stopped %q, output %q\nfound    exit %d, stopped %q, output %q, errors %s", c.exit, c.stopped, c.stdout, r.Exit, r.Stopped, r.Stdout, r.Stderr)
			}
			if r.OK() != (c.exit == 0 && c.stopped == "") {
				t.Errorf("OK is %v", r.OK())
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "tune-sandbox-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A run that is given up leaves nothing running.
func TestCancel(t *testing.T) {
	py := python(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Run(ctx, Program{Python: py, Source: "import time\ntime.sleep(1000)"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("expected the context's error, found %v", err)
	}
}

// Where namespaces cannot be made, nothing is run, and the error says so.
func TestRefuses(t *testing.T) {
	python(t)
	cmd := exec.Command("/proc/self/exe", withoutNamespaces)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(string(out), "cannot forbid") {
		t.Skip(string(out))
	}
	if !strings.Contains(string(out), "generated code is not run: the sandbox cannot be built here: start in new namespaces") {
		t.Errorf("found %s", out)
	}
}

// A folder that the interpreter needs and that cannot be shown is a refusal, not a run without it.
func TestBrokenInside(t *testing.T) {
	py := python(t)
	py.Path = "/nowhere/python3"
	_, err := Run(t.Context(), Program{Python: py, Source: "print(1)"})
	if err == nil || !strings.Contains(err.Error(), "interpreter: no such file") {
		t.Errorf("found %v", err)
	}
}
