package tokenizer

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A step is one element of the "pre_tokenizer" of a tokenizer.json: it calls emit with the words of a seg.
type step func(g seg, emit func(seg)) error

// words carries out steps one inside of the other: a word goes through all of them before the next one is cut.
func words(steps []step, g seg, emit func(seg)) (err error) {
	for i := len(steps) - 1; i > 0; i-- {
		f, next := steps[i], emit
		emit = func(g seg) {
			if e := f(g, next); e != nil && err == nil {
				err = e
			}
		}
	}
	if len(steps) == 0 {
		emit(g)
		return nil
	}
	if e := steps[0](g, emit); e != nil {
		err = e
	}
	return err
}

func stepScan(scan scanner) step {
	return func(g seg, emit func(seg)) error {
		c := classer{classTable()}
		for i := 0; i < len(g.s); {
			k := scan(c, g.s, i)
			emit(g.sub(i, k))
			i = k
		}
		return nil
	}
}

// stepPrefix puts a space before a text that has none (add_prefix_space of ByteLevel).
func stepPrefix(g seg, emit func(seg)) error {
	if g.s != "" && g.s[0] != ' ' {
		g = g.prepend(" ")
	}
	emit(g)
	return nil
}

// isDigit is the class of the pre-tokenizer Digits: numbers, of a newer Unicode than those of the patterns.
func isDigit(r rune) bool {
	return classer{classTable()}.of(r) == number || r >= 0x11de0 && r <= 0x11de9 || r >= 0x16ff4 && r <= 0x16ff6
}

// digits is a run of them, or each by itself.
func digits(individual bool) *simple {
	if individual {
		return &simple{class: digitSet(), least: 1, most: 1}
	}
	return &simple{class: digitSet(), least: 1, most: -1}
}

var digitSet = sync.OnceValue(func() runeSet {
	var ranges []rune
	for r := range rune(tableEnd) {
		if isDigit(r) {
			ranges = append(ranges, r, r)
		}
	}
	return newRuneSet(ranges)
})

// stepMetaspace writes spaces as mark (U+2581) and puts one in front: always, or only at the very beginning ("first").
func stepMetaspace(mark, scheme string, split bool) step {
	findSpace := findString(" ")
	return func(g seg, emit func(seg)) error {
		first := g.s != "" && g.span(0, 1)[0] == 0
		if strings.Contains(g.s, " ") {
			parts, _ := findSpace(g.s) // a literal is always found without an error
			g = g.replace(parts, mark)
		}
		if g.s != "" && !strings.HasPrefix(g.s, mark) && (scheme == "always" || scheme == "first" && first) {
			g = g.prepend(mark)
		}
		if !split {
			emit(g)
			return nil
		}
		start := 0
		for i := 0; i < len(g.s); {
			k := strings.Index(g.s[i:], mark)
			if k < 0 {
				break
			}
			if i+k > start {
				emit(g.sub(start, i+k))
			}
			start = i + k
			i = start + len(mark)
		}
		if start < len(g.s) {
			emit(g.sub(start, len(g.s)))
		}
		return nil
	}
}

// A part is a piece of a text cut by a pattern.
type part struct {
	a, b  int
	match bool
}

// A finder cuts a whole text into what matches a pattern and what lies between.
type finder func(s string) ([]part, error)

// stepSplit cuts by the matches of a pattern; behaviour says where the matches go.
func stepSplit(find finder, behaviour string, invert bool) (step, error) {
	switch behaviour {
	case "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous":
	default:
		return nil, fmt.Errorf("expected a split behaviour, found %q", behaviour)
	}
	return func(g seg, emit func(seg)) error {
		parts, err := find(g.s)
		if err != nil {
			return err
		}
		for i := range parts {
			parts[i].match = parts[i].match != invert
		}
		for _, p := range arrange(parts, behaviour) {
			if p.a < p.b {
				emit(g.sub(p.a, p.b))
			}
		}
		return nil
	}, nil
}

func arrange(parts []part, behaviour string) []part {
	var out []part
	switch behaviour {
	case "Isolated":
		return parts
	case "Removed":
		for _, p := range parts {
			if !p.match {
				out = append(out, p)
			}
		}
	case "Contiguous":
		for _, p := range parts {
			if n := len(out); n > 0 && out[n-1].match == p.match {
				out[n-1].b = p.b
			} else {
				out = append(out, p)
			}
		}
	case "MergedWithPrevious":
		previous := false
		for _, p := range parts {
			if n := len(out); p.match && !previous && n > 0 {
				out[n-1].b = p.b
			} else {
				out = append(out, p)
			}
			previous = p.match
		}
	case "MergedWithNext":
		previous := false
		for i := len(parts) - 1; i >= 0; i-- {
			p := parts[i]
			if n := len(out); p.match && !previous && n > 0 {
				out[n-1].a = p.a
			} else {
				out = append(out, p)
			}
			previous = p.match
		}
		for i, k := 0, len(out)-1; i < k; i, k = i+1, k-1 {
			out[i], out[k] = out[k], out[i]
		}
	}
	return out
}

func findString(pattern string) finder {
	return func(s string) ([]part, error) {
		var out []part
		last := 0
		for {
			k := strings.Index(s[last:], pattern)
			if k < 0 || pattern == "" {
				break
			}
			if k > 0 {
				out = append(out, part{last, last + k, false})
			}
			out = append(out, part{last + k, last + k + len(pattern), true})
			last += k + len(pattern)
		}
		if last < len(s) {
			out = append(out, part{last, len(s), false})
		}
		return out, nil
	}
}

// findChars finds characters one by one.
func findChars(is func(rune) bool) finder {
	return func(s string) ([]part, error) {
		var out []part
		last := 0
		for i, r := range s {
			if !is(r) {
				continue
			}
			if last < i {
				out = append(out, part{last, i, false})
			}
			last = i + runeLen(s, i)
			out = append(out, part{i, last, true})
		}
		if last < len(s) {
			out = append(out, part{last, len(s), false})
		}
		return out, nil
	}
}

// stepBert cuts at white space, which it drops, and around each punctuation mark.
func stepBert(g seg, emit func(seg)) error {
	start := 0
	for i, r := range g.s {
		blank := unicode.IsSpace(r)
		if !blank && !isPunct(r) {
			continue
		}
		if start < i {
			emit(g.sub(start, i))
		}
		start = i + runeLen(g.s, i)
		if !blank {
			emit(g.sub(i, start))
		}
	}
	if start < len(g.s) {
		emit(g.sub(start, len(g.s)))
	}
	return nil
}

// stepWhitespace is \w+|[^\w\s]+ : runs of word characters and runs of others, without white space.
func stepWhitespace(g seg, emit func(seg)) error {
	kind := func(r rune) int {
		switch {
		case unicode.IsSpace(r):
			return 0
		case isWord(r):
			return 1
		}
		return 2
	}
	start, before := 0, 0
	for i, r := range g.s {
		k := kind(r)
		if k != before && before > 0 {
			emit(g.sub(start, i))
		}
		if k != before {
			start, before = i, k
		}
	}
	if before > 0 {
		emit(g.sub(start, len(g.s)))
	}
	return nil
}

// onLetters lets a step that only cuts see a word as ByteLevel writes it, in byte letters: some bytes of characters are digits or
// punctuation marks there. touches is false for letters around which the step never cuts.
func onLetters(f step, touches func(rune) bool) step {
	var cuts [256]bool
	for b := range cuts {
		cuts[b] = touches(alphabet.letter[b])
	}
	return func(g seg, emit func(seg)) error {
		touched := false
		for i := 0; i < len(g.s) && !touched; i++ {
			touched = cuts[g.s[i]]
		}
		if !touched {
			emit(g)
			return nil
		}
		letters := string(appendByteLetters(nil, g.s))
		at, i := 0, 0
		place := func(want int) int { // the byte of g whose letter begins at want
			for ; at < want; i++ {
				at += utf8.RuneLen(alphabet.letter[g.s[i]])
			}
			return i
		}
		return f(seg{s: letters}, func(c seg) {
			if len(c.s) == len(letters) {
				emit(g)
				return
			}
			if g.pos == nil { // a cut may go through a character
				g.pos = g.aligned()
			}
			from := place(c.off)
			emit(g.sub(from, place(c.off+len(c.s))))
		})
	}
}
