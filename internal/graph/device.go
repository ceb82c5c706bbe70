package graph

import (
	"fmt"
	"unsafe"

	"tune/kernels"
)

// Space is a block of memory with its own life.
type Space uint8

const (
	Arena  Space = iota // one run
	Inputs              // set before a run
	Params              // a job
	Grads               // added to until zeroed
	Spaces = iota
)

func (s Space) String() string { return [...]string{"arena", "inputs", "params", "grads"}[s] }

// Ref is a buffer: values Off to Off+Len of a space. Values take 4 bytes; Len 0 is no buffer.
type Ref struct {
	Space    Space
	Off, Len int
}

// Block is memory of a device.
type Block any

// Blocks are the memory of a session by space.
type Blocks [Spaces]Block

// Device owns memory and runs instructions in order. Only a device turns a Ref into memory.
type Device interface {
	// Alloc reserves zeroed memory for n values.
	Alloc(n int) (Block, error)
	Free(Block)
	// Map shows a part of a block to the host, after what was run before is done; what the host writes there is seen by what
	// runs next. On the host it is the memory itself.
	Map(b Block, off, n int) []float32
	// Prepare binds an instruction to memory. The function it returns runs the instruction, any number of times.
	Prepare(i *Instr, m *Blocks) (func(), error)
}

// Host is the CPU with Go's memory.
type Host struct{ pool *kernels.Pool }

// NewHost runs instructions with the workers of a pool; nil is one worker.
func NewHost(pool *kernels.Pool) *Host { return &Host{pool} }

// Alloc is a slice of n values: Go takes large ones from the system whole, zeroed and page by page as they are touched.
func (h *Host) Alloc(n int) (Block, error) {
	const most = 1 << 46 // more than any machine has; makes a wrong size an error instead of a panic
	if n < 0 || n > most {
		return nil, fmt.Errorf("memory: cannot reserve %d values", n)
	}
	return make([]float32, n), nil
}

// Free leaves the memory to the garbage collector.
func (h *Host) Free(Block) {}

// Map is the memory itself.
func (h *Host) Map(b Block, off, n int) []float32 { return b.([]float32)[off : off+n : off+n] }

// Prepare binds an instruction to slices of its blocks.
func (h *Host) Prepare(i *Instr, m *Blocks) (func(), error) {
	a := &Args{Tmp: h.slice(m, i.Tmp), Add: i.Add, Pool: h.pool}
	for _, r := range i.In {
		f := h.slice(m, r)
		a.In, a.Int = append(a.In, f), append(a.Int, AsInts(f))
	}
	for _, r := range i.Out {
		a.Out = append(a.Out, h.slice(m, r))
	}
	return i.Op.Host(a), nil
}

func (h *Host) slice(m *Blocks, r Ref) []float32 {
	if r.Len == 0 {
		return nil
	}
	return h.Map(m[r.Space], r.Off, r.Len)
}

// AsInts views float32 values as the int32 values of the same bits.
func AsInts(f []float32) []int32 {
	if len(f) == 0 {
		return nil
	}
	return unsafe.Slice((*int32)(unsafe.Pointer(&f[0])), len(f))
}
