package tensor

import "tune/internal/qtype"

// Map is a Source in memory that keeps the order in which tensors were added. The zero value is empty and ready.
type Map struct {
	names  []string
	byName map[string]Tensor
}

// NewMap makes a Map of tensors.
func NewMap(ts ...Tensor) *Map {
	m := &Map{}
	for _, t := range ts {
		m.Add(t)
	}
	return m
}

// Add puts a tensor at the end, or in the place of one of the same name.
func (m *Map) Add(t Tensor) {
	if m.byName == nil {
		m.byName = map[string]Tensor{}
	}
	if _, ok := m.byName[t.Name]; !ok {
		m.names = append(m.names, t.Name)
	}
	m.byName[t.Name] = t
}

// Names lists the tensors in the order in which they were added.
func (m *Map) Names() []string { return m.names }

// Info describes a tensor.
func (m *Map) Info(name string) (Info, error) {
	t, err := m.Tensor(name)
	return t.Info, err
}

// Tensor returns a tensor.
func (m *Map) Tensor(name string) (Tensor, error) {
	t, ok := m.byName[name]
	if !ok {
		return Tensor{}, Missing(name)
	}
	return t, nil
}

// Converted is a Source whose tensors are stored as To(info); the conversion happens when a tensor is asked for.
type Converted struct {
	Source
	To func(Info) qtype.Type
}

// Info describes the converted tensor.
func (c Converted) Info(name string) (Info, error) {
	i, err := c.Source.Info(name)
	if err == nil {
		i.Type = c.To(i)
	}
	return i, err
}

// Tensor converts a tensor.
func (c Converted) Tensor(name string) (Tensor, error) {
	t, err := c.Source.Tensor(name)
	if err != nil {
		return t, err
	}
	return Convert(t, c.To(t.Info))
}
