package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A jsonScanner reads the two large parts of a tokenizer.json, vocabulary and merges, several times faster than reflection
// would. Its input has been validated as JSON before; errors are about the shape only.
type jsonScanner struct {
	b []byte
	i int
}

// next skips white space and returns the next byte without taking it, 0 at the end.
func (p *jsonScanner) next() byte {
	for p.i < len(p.b) {
		switch c := p.b[p.i]; c {
		case ' ', '\t', '\r', '\n':
			p.i++
		default:
			return c
		}
	}
	return 0
}

func (p *jsonScanner) expect(c byte) error {
	if got := p.next(); got != c {
		return fmt.Errorf("byte %d: expected %q, found %q", p.i, c, got)
	}
	p.i++
	return nil
}

func (p *jsonScanner) str() (string, error) {
	if err := p.expect('"'); err != nil {
		return "", err
	}
	start := p.i
	for escaped := false; p.i < len(p.b); p.i++ {
		switch p.b[p.i] {
		case '\\':
			escaped = true
			p.i++
		case '"':
			p.i++
			if !escaped {
				return string(p.b[start : p.i-1]), nil
			}
			var s string
			err := json.Unmarshal(p.b[start-1:p.i], &s)
			return s, err
		}
	}
	return "", fmt.Errorf("byte %d: string without end", start)
}

func (p *jsonScanner) int32() (int32, error) {
	p.next()
	start := p.i
	for p.i < len(p.b) && (p.b[p.i] == '-' || p.b[p.i] >= '0' && p.b[p.i] <= '9') {
		p.i++
	}
	n, err := strconv.ParseInt(string(p.b[start:p.i]), 10, 32)
	return int32(n), err
}

func (p *jsonScanner) float64() (float64, error) {
	p.next()
	start := p.i
	for p.i < len(p.b) && strings.IndexByte("+-.0123456789eE", p.b[p.i]) >= 0 {
		p.i++
	}
	return strconv.ParseFloat(string(p.b[start:p.i]), 64)
}

// list reads elements between open and close, separated by commas.
func (p *jsonScanner) list(open, end byte, element func() error) error {
	if err := p.expect(open); err != nil {
		return err
	}
	for first := true; ; first = false {
		if p.next() == end {
			p.i++
			return nil
		}
		if !first {
			if err := p.expect(','); err != nil {
				return err
			}
		}
		if err := element(); err != nil {
			return err
		}
	}
}

// scanVocab calls f for every entry of a JSON object of integers.
func scanVocab(data []byte, f func(token string, id int32)) error {
	p := &jsonScanner{b: data}
	return p.list('{', '}', func() error {
		token, err := p.str()
		if err != nil {
			return err
		}
		if err := p.expect(':'); err != nil {
			return err
		}
		id, err := p.int32()
		if err != nil {
			return fmt.Errorf("id of %q: %w", token, err)
		}
		f(token, id)
		return nil
	})
}

// scanScores calls f for every ["piece", score] of a list.
func scanScores(data []byte, f func(token string, score float64)) error {
	p := &jsonScanner{b: data}
	return p.list('[', ']', func() error {
		if err := p.expect('['); err != nil {
			return err
		}
		token, err := p.str()
		if err == nil {
			err = p.expect(',')
		}
		if err != nil {
			return err
		}
		score, err := p.float64()
		if err != nil {
			return fmt.Errorf("score of %q: %w", token, err)
		}
		f(token, score)
		return p.expect(']')
	})
}

// scanMerges calls f for every merge, written as "a b" or as ["a", "b"].
func scanMerges(data []byte, f func(a, b string) error) error {
	p := &jsonScanner{b: data}
	return p.list('[', ']', func() error {
		if p.next() != '[' {
			s, err := p.str()
			if err != nil {
				return err
			}
			for i := 1; i < len(s); i++ {
				if s[i] == ' ' {
					return f(s[:i], s[i+1:])
				}
			}
			return fmt.Errorf("expected two tokens with a space between, found %q", s)
		}
		var pair []string
		err := p.list('[', ']', func() error {
			s, err := p.str()
			pair = append(pair, s)
			return err
		})
		if err == nil && len(pair) != 2 {
			err = fmt.Errorf("expected two tokens, found %d", len(pair))
		}
		if err != nil {
			return err
		}
		return f(pair[0], pair[1])
	})
}
