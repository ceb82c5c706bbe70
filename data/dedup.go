package data

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/zeebo/xxh3"

	"tune/internal/rng"
)

// dropped are rows of a source that are copies of earlier ones, by block and row.
type dropped map[[2]int]bool

// finder finds copies of what it has seen.
type finder interface {
	// prepare does what can be done for rows in any order; the result goes to copies.
	prepare(content []string) any
	// copies says whether a row is a copy of an earlier one.
	copies(prepared any) bool
}

// dedupe goes once through all sources in the order of the files and notes the rows that are copies. The first of several
// stays. So what is dropped depends on nothing but the data, and a stream can be continued anywhere.
func (s *Stream) dedupe(ctx context.Context) error {
	var f finder = exactFinder{}
	if s.config.Dedup == "minhash" {
		f = newMinHash(s.config.Similarity)
	}
	found := make([]dropped, len(s.sources))
	for i, o := range s.sources {
		found[i] = dropped{}
		r := &reader{source: o, order: fileOrder, passes: 1, all: true}
		err := r.chunks(ctx, func(chunk []drawn) error {
			prepared := make([]any, len(chunk))
			errs := make([]error, len(chunk))
			parallel(len(chunk), func(k int) {
				content, err := chunk[k].content(chunk[k].entry.columns)
				prepared[k], errs[k] = f.prepare(content), err
			})
			for k, d := range chunk {
				if errs[k] != nil {
					return errs[k]
				}
				if f.copies(prepared[k]) {
					found[i][[2]int{d.block, d.at}] = true
				}
			}
			return nil
		})
		r.close()
		if err != nil {
			return err
		}
	}
	for i, o := range s.sources {
		o.dropped = found[i]
	}
	return nil
}

// content is the text of a row's columns.
func (d drawn) content(keys []string) ([]string, error) {
	var out []string
	for _, key := range keys {
		v, err := d.plain(columnName(d.names, key))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// exactFinder finds rows whose columns are equal: by a hash of 128 bits.
type exactFinder map[xxh3.Uint128]bool

func (exactFinder) prepare(content []string) any {
	h := xxh3.New()
	for _, c := range content {
		h.WriteString(c)
		h.Write([]byte{0xff}) // no byte of UTF-8
	}
	return h.Sum128()
}

func (e exactFinder) copies(prepared any) bool {
	h := prepared.(xxh3.Uint128)
	seen := e[h]
	e[h] = true
	return seen
}

const (
	hashes   = 128 // hash functions of a signature
	bandRows = 8   // of them in a band: rows with an equal band are compared
	shingle  = 5   // words
	numBands = hashes / bandRows
)

// minHash finds rows that share most of their five-word shingles (Broder 1997; bands as in Leskovec, Rajaraman, Ullman,
// "Mining of Massive Datasets", 3.4). A pair as similar as 0.8 shares one of the 16 bands with 95 % probability, one of 0.9
// with 99.9 %; the similarity of a pair found is estimated of 128 hashes with a standard deviation of at most 0.045. It
// keeps about 450 bytes per row.
type minHash struct {
	limit      float64
	scale, add [hashes]uint64
	bands      map[uint64]int32 // hash of a band -> first row that has it
	signatures [][hashes]byte
}

func newMinHash(limit float64) *minHash {
	m := &minHash{limit: limit, bands: map[uint64]int32{}}
	random := rng.New(0, "data/minhash")
	for i := range m.scale {
		m.scale[i], m.add[i] = random.Uint64(uint64(2*i))|1, random.Uint64(uint64(2*i+1))
	}
	return m
}

// signature is the least value of each hash function over a row's shingles.
type signature [hashes]uint32

func (m *minHash) prepare(content []string) any {
	words := strings.FieldsFunc(strings.ToLower(strings.Join(content, " ")), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	var s signature
	for i := range s {
		s[i] = math.MaxUint32
	}
	for i := range max(1, len(words)-shingle+1) {
		h := xxh3.HashString(strings.Join(words[i:min(i+shingle, len(words))], " "))
		for k := range s {
			s[k] = min(s[k], uint32((h*m.scale[k]+m.add[k])>>32))
		}
	}
	return &s
}

// short is what is kept of a signature to estimate similarities.
func (s *signature) short() *[hashes]byte {
	var short [hashes]byte
	for i, x := range s {
		short[i] = byte(x)
	}
	return &short
}

// bands are hashes of the parts of a signature of which similar rows share one.
func (s *signature) bands() (keys [numBands]uint64) {
	for b := range keys {
		var buf [4*bandRows + 1]byte
		for i, x := range s[b*bandRows : (b+1)*bandRows] {
			binary.LittleEndian.PutUint32(buf[4*i:], x)
		}
		buf[4*bandRows] = byte(b)
		keys[b] = xxh3.Hash(buf[:])
	}
	return keys
}

func (m *minHash) copies(prepared any) bool {
	s := prepared.(*signature)
	short, keys := s.short(), s.bands()
	var compared []int32
	for _, k := range keys {
		if other, ok := m.bands[k]; ok && !slices.Contains(compared, other) {
			if similarity(short, &m.signatures[other]) >= m.limit {
				return true
			}
			compared = append(compared, other)
		}
	}
	row := int32(len(m.signatures))
	m.signatures = append(m.signatures, *short)
	for _, k := range keys {
		if _, ok := m.bands[k]; !ok {
			m.bands[k] = row
		}
	}
	return false
}

// similarity estimates the share of common shingles: different hashes agree in a byte by chance once in 256.
func similarity(a, b *[hashes]byte) float64 {
	equal := 0
	for i := range a {
		if a[i] == b[i] {
			equal++
		}
	}
	return (float64(equal)/hashes - 1./256) / (1 - 1./256)
}
