package graph

import "fmt"

// Store is the memory that the programs of one job share: parameters and gradients by name, and one arena, as large as the
// largest of them needs, which belongs to the session that runs. Not for use from several goroutines at once.
type Store struct {
	dev    Device
	params map[string]Named
	grads  map[string]Named
	size   [Spaces]int // values
	blocks Blocks
	arenas int      // how often the arena was replaced
	owner  *Session // whose values the arena holds
}

// NewStore allocates the parameters and gradients of a program. Programs bound later may use all or some of them.
func NewStore(d Device, p *Program) (*Store, error) {
	s := &Store{dev: d, params: byName(p.Params), grads: byName(p.Grads)}
	for _, sp := range []Space{Params, Grads} {
		if err := s.alloc(sp, int(p.Bytes[sp]/4)); err != nil {
			return nil, err
		}
	}
	return s, s.alloc(Arena, 0)
}

func byName(list []Named) map[string]Named {
	m := make(map[string]Named, len(list))
	for _, n := range list {
		m[n.Name] = n
	}
	return m
}

func (s *Store) alloc(sp Space, n int) error {
	b, err := s.dev.Alloc(n)
	if err != nil {
		return fmt.Errorf("%s: %w", sp, err)
	}
	s.blocks[sp], s.size[sp] = b, n
	return nil
}

// Bytes is the memory the store holds now, without the sessions' inputs.
func (s *Store) Bytes() (n int64) {
	for _, v := range s.size {
		n += 4 * int64(v)
	}
	return n
}

// Param is a parameter's memory, nil if there is none of that name.
func (s *Store) Param(name string) []float32 { return s.named(Params, s.params, name) }

// Grad is the memory of a gradient, nil if nothing accumulates under that name.
func (s *Store) Grad(name string) []float32 { return s.named(Grads, s.grads, name) }

func (s *Store) named(sp Space, in map[string]Named, name string) []float32 {
	n, ok := in[name]
	if !ok {
		return nil
	}
	return s.dev.Map(s.blocks[sp], n.Ref.Off, n.Ref.Len)
}

// ZeroGrads begins a new sum of gradients.
func (s *Store) ZeroGrads() { clear(s.dev.Map(s.blocks[Grads], 0, s.size[Grads])) }

// Close gives all memory back; sessions must not be used afterwards.
func (s *Store) Close() {
	for sp, b := range s.blocks {
		if b != nil {
			s.dev.Free(b)
			s.blocks[sp] = nil
		}
	}
}

// Session is a program bound to memory.
type Session struct {
	*Store
	// Before, when set, is called before each instruction: profiling, tracing, tests.
	Before func(i *Instr)

	p      *Program
	instrs []Instr // the program's, with the store's offsets
	inputs map[string]Named
	block  Block // of the inputs
	calls  []func()
	arenas int // the arena the calls are bound to
	ran    int // phases run
}

// Bind binds a program to a store of its own.
func (p *Program) Bind(d Device) (*Session, error) {
	s, err := NewStore(d, p)
	if err != nil {
		return nil, err
	}
	return s.Bind(p)
}

// Bind binds another program, for example of another number of tokens, to the parameters and gradients of the store.
func (s *Store) Bind(p *Program) (*Session, error) {
	shift := func(sp Space, list []Named, have map[string]Named) (map[int]int, error) {
		m := map[int]int{}
		for _, n := range list {
			h, ok := have[n.Name]
			if !ok || h.Shape != n.Shape {
				return nil, fmt.Errorf("%s %q: expected shape %v in the store, found %v", sp, n.Name, n.Shape, h.Shape)
			}
			m[n.Ref.Off] = h.Ref.Off
		}
		return m, nil
	}
	params, err := shift(Params, p.Params, s.params)
	if err != nil {
		return nil, err
	}
	grads, err := shift(Grads, p.Grads, s.grads)
	if err != nil {
		return nil, err
	}
	move := func(list []Ref) []Ref {
		r := make([]Ref, len(list))
		for k, x := range list {
			switch {
			case x.Len > 0 && x.Space == Params:
				x.Off = params[x.Off]
			case x.Len > 0 && x.Space == Grads:
				x.Off = grads[x.Off]
			}
			r[k] = x
		}
		return r
	}
	x := &Session{Store: s, p: p, inputs: byName(p.Inputs), arenas: -1}
	for _, i := range p.Instrs {
		i.In, i.Out = move(i.In), move(i.Out)
		x.instrs = append(x.instrs, i)
	}
	if x.block, err = s.dev.Alloc(int(p.Bytes[Inputs] / 4)); err != nil {
		return nil, fmt.Errorf("%s: %w", Inputs, err)
	}
	if n := int(p.Bytes[Arena] / 4); n > s.size[Arena] {
		s.dev.Free(s.blocks[Arena])
		s.blocks[Arena] = nil
		s.arenas++
		s.owner = nil
		if err := s.alloc(Arena, n); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Program is what the session runs.
func (s *Session) Program() *Program { return s.p }

func (s *Session) blocksNow() *Blocks {
	b := s.blocks
	b[Inputs] = s.block
	return &b
}

// Close gives the memory of the inputs back; the store stays.
func (s *Session) Close() { s.dev.Free(s.block) }

// Floats is the memory of a float32 input, nil if the program has none of that name.
func (s *Session) Floats(name string) []float32 {
	n, ok := s.inputs[name]
	if !ok {
		return nil
	}
	return s.dev.Map(s.block, n.Ref.Off, n.Ref.Len)
}

// Ints is the memory of an int32 input, nil if the program has none of that name.
func (s *Session) Ints(name string) []int32 { return AsInts(s.Floats(name)) }

// SetFloats sets an input. A name the program does not have is an error, so is another length.
func (s *Session) SetFloats(name string, x []float32) error {
	return set(name, s.Floats(name), x)
}

// SetInts sets an integer input.
func (s *Session) SetInts(name string, x []int32) error {
	return set(name, s.Ints(name), x)
}

func set[T any](name string, dst, src []T) error {
	if len(dst) != len(src) {
		return fmt.Errorf("input %q: expected %d values, found %d", name, len(dst), len(src))
	}
	copy(dst, src)
	return nil
}

// Output is the i-th output, valid until the next run of a session of this store.
func (s *Session) Output(i int) []float32 { return s.Map(s.p.Outputs[i]) }

// Map shows a buffer of the session to the host.
func (s *Session) Map(r Ref) []float32 {
	return s.dev.Map(s.blocksNow()[r.Space], r.Off, r.Len)
}

// RunAll runs the whole program.
func (s *Session) RunAll() error {
	if err := s.Run(0); err != nil {
		return err
	}
	return s.Run(1)
}

// Run runs a phase: 0 up to Graph.Split, 1 from there. Phase 1 needs phase 0 of the same inputs, with no other session of the
// store run between.
func (s *Session) Run(phase int) error {
	if err := s.prepare(); err != nil {
		return err
	}
	lo, hi := 0, s.p.Split
	if phase == 1 {
		lo, hi = s.p.Split, len(s.instrs)
		if s.ran == 0 || s.owner != s {
			return fmt.Errorf("phase 1 without phase 0 before it")
		}
	}
	s.owner, s.ran = s, 1-phase
	for i := lo; i < hi; i++ {
		if s.Before != nil {
			s.Before(&s.instrs[i])
		}
		s.calls[i]()
	}
	return nil
}

// prepare binds the instructions to memory when that has changed.
func (s *Session) prepare() error {
	if s.arenas == s.Store.arenas {
		return nil
	}
	b := s.blocksNow()
	s.calls = s.calls[:0]
	for i := range s.instrs {
		f, err := s.dev.Prepare(&s.instrs[i], b)
		if err != nil {
			return fmt.Errorf("instruction %d, %s: %w", i, s.instrs[i].Op.Info().Name, err)
		}
		s.calls = append(s.calls, f)
	}
	s.arenas = s.Store.arenas
	return nil
}
