// Package gguf reads and writes GGUF files, versions 2 and 3, little endian: metadata, tensor descriptions, tensors.
//
// Reading is strict: what llama.cpp's reader refuses is refused here, and nothing is allocated by a number read from the
// file before that number was held against the size of the file. Tensors are views of the mapped file. Shapes are given
// row-major, outermost dimension first, which is the file's order reversed.
package gguf

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Meta is the metadata of a file: keys in order, each with a value of one of the types
//
//	uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64 bool string
//
// or a slice of one of them. The zero value is empty and ready.
type Meta struct {
	keys   []string
	values map[string]any
}

// ErrNoKey is wrapped by the typed getters when the key is not there.
var ErrNoKey = errors.New("no such key")

// Keys lists the keys in order; the caller must not change it.
func (m *Meta) Keys() []string { return m.keys }

// Get returns a value.
func (m *Meta) Get(key string) (any, bool) {
	v, ok := m.values[key]
	return v, ok
}

// Set puts a key at the end; one that was there loses its place, as llama.cpp's tools do it. It panics when the format has no such
// type.
func (m *Meta) Set(key string, value any) {
	if _, ok := kindOf(value); !ok {
		panic(fmt.Sprintf("gguf: %s: no metadata type for %T", key, value))
	}
	m.Delete(key)
	if m.values == nil {
		m.values = map[string]any{}
	}
	m.keys, m.values[key] = append(m.keys, key), value
}

// Delete removes a key.
func (m *Meta) Delete(key string) {
	if _, ok := m.values[key]; ok {
		delete(m.values, key)
		m.keys = slices.DeleteFunc(m.keys, func(k string) bool { return k == key })
	}
}

// Clone copies the metadata, not the arrays in it.
func (m *Meta) Clone() *Meta {
	c := &Meta{}
	for _, k := range m.keys {
		c.Set(k, m.values[k])
	}
	return c
}

func wrong(key, expected string, v any) error {
	return fmt.Errorf("%s: expected %s, found %s", key, expected, TypeName(v))
}

func lookup[T any](m *Meta, key, expected string) (x T, err error) {
	v, ok := m.values[key]
	if !ok {
		return x, fmt.Errorf("%s: %w", key, ErrNoKey)
	}
	x, ok = v.(T)
	if !ok {
		return x, wrong(key, expected, v)
	}
	return x, nil
}

// String returns a string value.
func (m *Meta) String(key string) (string, error) { return lookup[string](m, key, "a string") }

// Strings returns an array of strings.
func (m *Meta) Strings(key string) ([]string, error) {
	return lookup[[]string](m, key, "an array of strings")
}

// Bool returns a boolean.
func (m *Meta) Bool(key string) (bool, error) { return lookup[bool](m, key, "a bool") }

// Uint returns a number that is stored as any integer type and is not negative.
func (m *Meta) Uint(key string) (uint64, error) {
	v, ok := m.values[key]
	if !ok {
		return 0, fmt.Errorf("%s: %w", key, ErrNoKey)
	}
	var i int64
	switch v := v.(type) {
	case uint8:
		return uint64(v), nil
	case uint16:
		return uint64(v), nil
	case uint32:
		return uint64(v), nil
	case uint64:
		return v, nil
	case int8:
		i = int64(v)
	case int16:
		i = int64(v)
	case int32:
		i = int64(v)
	case int64:
		i = v
	default:
		return 0, wrong(key, "an integer", v)
	}
	if i < 0 {
		return 0, fmt.Errorf("%s: expected a number of at least 0, found %d", key, i)
	}
	return uint64(i), nil
}

// Int returns what Uint does when it fits an int.
func (m *Meta) Int(key string) (int, error) {
	u, err := m.Uint(key)
	if err == nil && u > math.MaxInt {
		err = fmt.Errorf("%s: %d is too large", key, u)
	}
	return int(u), err
}

// Float returns a float32 or float64.
func (m *Meta) Float(key string) (float64, error) {
	v, ok := m.values[key]
	if !ok {
		return 0, fmt.Errorf("%s: %w", key, ErrNoKey)
	}
	switch v := v.(type) {
	case float32:
		return float64(v), nil
	case float64:
		return v, nil
	}
	return 0, wrong(key, "a float", v)
}

// kind is the number of a value type in the file.
type kind uint32

const (
	kindU8 kind = iota
	kindI8
	kindU16
	kindI16
	kindU32
	kindI32
	kindF32
	kindBool
	kindString
	kindArray
	kindU64
	kindI64
	kindF64
	numKinds
)

// kinds has the name of each value type and the bytes of one value (of a string: of its length, the least there is).
var kinds = [numKinds]struct {
	name string
	size uint64
}{
	{"u8", 1}, {"i8", 1}, {"u16", 2}, {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 8}, {"array", 0},
	{"u64", 8}, {"i64", 8}, {"f64", 8},
}

// kindOf is the file's type of a value; for a slice the type of its elements.
func kindOf(v any) (kind, bool) {
	switch v.(type) {
	case uint8, []uint8:
		return kindU8, true
	case int8, []int8:
		return kindI8, true
	case uint16, []uint16:
		return kindU16, true
	case int16, []int16:
		return kindI16, true
	case uint32, []uint32:
		return kindU32, true
	case int32, []int32:
		return kindI32, true
	case uint64, []uint64:
		return kindU64, true
	case int64, []int64:
		return kindI64, true
	case float32, []float32:
		return kindF32, true
	case float64, []float64:
		return kindF64, true
	case bool, []bool:
		return kindBool, true
	case string, []string:
		return kindString, true
	}
	return 0, false
}

func isArray(v any) bool {
	switch v.(type) {
	case []uint8, []int8, []uint16, []int16, []uint32, []int32, []uint64, []int64, []float32, []float64, []bool, []string:
		return true
	}
	return false
}

// TypeName names the type of a value: "u32", "array<string>".
func TypeName(v any) string {
	k, ok := kindOf(v)
	switch {
	case !ok:
		return fmt.Sprintf("%T", v)
	case isArray(v):
		return "array<" + kinds[k].name + ">"
	}
	return kinds[k].name
}
