// Package sandbox runs programs that a model wrote.
//
// A program sees a file system that holds an interpreter, system libraries and an empty /tmp, and nothing else: no home,
// no network, no other process, no environment. It cannot fork, and processor time, wall time, memory, disk and output
// are bounded. Three walls stand one behind the other: namespaces (user, mount, network, process, IPC, host name), a
// landlock rule set, and a seccomp filter. Where the kernel has one of them not, nothing is run.
//
// The package starts the running executable again to build those walls from inside, so a program that uses it calls
// Child when IsChild says so, before anything else.
package sandbox

import (
	"time"
)

// Program is what to run: a Python source.
type Program struct {
	Python Python
	Source string
	Limits Limits // the zero value of each means DefaultLimits'
}

// Python is an interpreter as FindPython found it.
type Python struct {
	Path  string   // of the executable, links resolved
	Roots []string // folders it reads
}

// Limits bound a run.
type Limits struct {
	Wall   time.Duration // until it is killed
	CPU    time.Duration // of all its threads, in whole seconds
	Memory int64         // address space, bytes
	Disk   int64         // all files under /tmp, bytes
	Output int           // of standard output and of standard error, bytes each
}

// DefaultLimits are generous for the solution of an exercise and its tests: a wrong answer rather fails by itself.
func DefaultLimits() Limits {
	return Limits{Wall: 30 * time.Second, CPU: 10 * time.Second, Memory: 512 << 20, Disk: 16 << 20, Output: 64 << 10}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.Wall == 0 {
		l.Wall = d.Wall
	}
	if l.CPU == 0 {
		l.CPU = d.CPU
	}
	if l.Memory == 0 {
		l.Memory = d.Memory
	}
	if l.Disk == 0 {
		l.Disk = d.Disk
	}
	if l.Output == 0 {
		l.Output = d.Output
	}
	return l
}

// Result is how a program ended. A limit that stops it is a result, not an error.
type Result struct {
	Exit    int    // 0: as it should; -1: killed
	Stopped string // "", or what killed it: "wall time", "processor time", "output" or "the system, out of memory"
	Stdout  string
	Stderr  string
	CPU     time.Duration
}

// OK tells whether the program ran to its end without an error.
func (r Result) OK() bool { return r.Exit == 0 && r.Stopped == "" }
