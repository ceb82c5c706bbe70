package qtype

import (
	"bytes"
	"slices"
	"testing"
)

// TestCodes: in blocks that the encoders wrote, each value is decided by its own code: writing the codes that were read changes
// nothing, and changing one code changes one value, and that to what the code stands for elsewhere in its group.
func TestCodes(t *testing.T) {
	for _, q := range All() {
		c := CodesOf(q)
		if c == nil {
			continue
		}
		r := q.Row()
		x := make([]float32, r.Block)
		for i := range x {
			x[i] = float32(i*i%37-18) / 7
		}
		block, old := make([]byte, r.Bytes), make([]float32, r.Block)
		r.Encode(block, x)
		r.Decode(old, block)
		again := bytes.Clone(block)
		for i := range r.Block {
			c.Set(again, i, c.Code(block, i))
		}
		if !bytes.Equal(block, again) {
			t.Errorf("%s: writing the codes that were read changed the block", q)
		}
		now, seen := make([]float32, r.Block), map[int]bool{}
		for i := range r.Block {
			code := c.Code(block, i)
			seen[code] = true
			b := bytes.Clone(block)
			c.Set(b, i, code^1)
			r.Decode(now, b)
			changed := slices.Clone(now)
			changed[i] = old[i]
			if now[i] == old[i] || !slices.Equal(changed, old) {
				t.Fatalf("%s: value %d: expected that it alone changes with its code", q, i)
			}
			for j := i + 1; j < min(i+16, r.Block); j++ { // values of equal code in one group of 16 are equal
				if i/16 == j/16 && c.Code(block, j) == code && old[i] != old[j] {
					t.Fatalf("%s: values %d and %d have code %d and are %v and %v", q, i, j, code, old[i], old[j])
				}
			}
		}
		if len(seen) < min(1<<c.Bits, 30)/2 {
			t.Errorf("%s: only %d codes are in use", q, len(seen))
		}
	}
}
