package textscore

import (
	"math"
	"slices"
	"strings"
)

// Bounds of Tercom's search.
const (
	maxShiftSize  = 10
	maxShiftDist  = 50
	maxCandidates = 1000
	beamWidth     = 25
)

// TER is the corpus translation edit rate of Snover et al. (2006) in percent: edits per word of the references, where
// moving a sequence of words is one edit. Case does not count. The search for moves is Tercom's.
func TER(references [][]string, predictions []string) float64 {
	var edits, words float64
	for i, p := range predictions {
		best, length := math.MaxInt, 0
		pred := strings.Fields(strings.ToLower(p))
		for _, r := range references[i] {
			ref := strings.Fields(strings.ToLower(r))
			length += len(ref)
			best = min(best, terEdits(pred, ref))
		}
		edits += float64(best)
		words += float64(length) / float64(len(references[i]))
	}
	switch {
	case words > 0:
		return 100 * edits / words
	case edits > 0:
		return 100
	}
	return 0
}

func terEdits(pred, ref []string) int {
	if len(ref) == 0 {
		return len(pred)
	}
	shifts, tried := 0, 0
	for {
		gain, moved := bestShift(pred, ref, &tried)
		if tried >= maxCandidates || gain <= 0 {
			break
		}
		shifts++
		pred = moved
	}
	distance, _ := editDistance(pred, ref)
	return shifts + distance
}

// The operations that turn the reference into the prediction.
const (
	opKeep = iota
	opReplace
	opInsert // a word of the prediction only
	opDelete // a word of the reference only
)

// editDistance counts insertions, deletions and replacements near the diagonal, and tells them in order.
func editDistance(pred, ref []string) (int, []int) {
	const far = math.MaxInt / 2
	type cell struct{ cost, op int }
	rows := make([][]cell, len(pred)+1)
	for i := range rows {
		rows[i] = make([]cell, len(ref)+1)
		for j := range rows[i] {
			rows[i][j] = cell{far, -1}
		}
	}
	for j := range rows[0] {
		rows[0][j] = cell{j, opDelete}
	}
	ratio := 1.0
	if len(pred) > 0 {
		ratio = float64(len(ref)) / float64(len(pred))
	}
	width := beamWidth
	if beamWidth < ratio/2 {
		width = int(math.Ceil(ratio/2 + beamWidth))
	}
	for i := 1; i <= len(pred); i++ {
		diagonal := int(math.Floor(float64(i) * ratio))
		from, to := max(0, diagonal-width), min(len(ref)+1, diagonal+width)
		if i == len(pred) {
			to = len(ref) + 1
		}
		for j := from; j < to; j++ {
			if j == 0 {
				rows[i][0] = cell{rows[i-1][0].cost + 1, opInsert}
				continue
			}
			options := [3]cell{{rows[i-1][j-1].cost + 1, opReplace}, {rows[i-1][j].cost + 1, opInsert}, {rows[i][j-1].cost + 1, opDelete}}
			if pred[i-1] == ref[j-1] {
				options[0] = cell{rows[i-1][j-1].cost, opKeep}
			}
			for _, o := range options {
				if rows[i][j].cost > o.cost {
					rows[i][j] = o
				}
			}
		}
	}
	var trace []int
	for i, j := len(pred), len(ref); i > 0 || j > 0; {
		op := rows[i][j].op
		trace = append(trace, op)
		if op != opDelete {
			i--
		}
		if op != opInsert {
			j--
		}
	}
	slices.Reverse(trace)
	return rows[len(pred)][len(ref)].cost, trace
}

// alignment says for every word of the reference where in the prediction it is, and which words of either are wrong.
func alignment(trace []int) (at []int, refWrong, predWrong []int) {
	pos := -1
	for _, op := range trace {
		wrong := 1
		if op == opKeep {
			wrong = 0
		}
		if op != opDelete {
			pos++
			predWrong = append(predWrong, wrong)
		}
		if op != opInsert {
			at = append(at, pos)
			refWrong = append(refWrong, wrong)
		}
	}
	return at, refWrong, predWrong
}

// A shift is a candidate move: its gain, then its length, then the earliest start and target win.
type shift struct {
	gain, length, start, target int
	words                       []string
}

func (a shift) better(b shift) bool {
	for _, d := range []int{a.gain - b.gain, a.length - b.length, b.start - a.start, b.target - a.target} {
		if d != 0 {
			return d > 0
		}
	}
	return slices.Compare(a.words, b.words) > 0
}

// bestShift moves the sequence of words whose move saves the most edits.
func bestShift(pred, ref []string, tried *int) (gain int, moved []string) {
	before, trace := editDistance(pred, ref)
	at, refWrong, predWrong := alignment(trace)
	var best *shift
	visit := func(start, startRef, length int) bool {
		if sum(predWrong[start:start+length]) == 0 || sum(refWrong[startRef:startRef+length]) == 0 ||
			start <= at[startRef] && at[startRef] < start+length {
			return true
		}
		last := -1
		for offset := -1; offset < length; offset++ {
			target := 0
			if k := startRef + offset; k >= len(at) {
				break
			} else if k >= 0 {
				target = at[k] + 1
			}
			if target == last {
				continue
			}
			last = target
			words := move(pred, start, length, target)
			after, _ := editDistance(words, ref)
			c := shift{before - after, length, start, target, words}
			if *tried++; best == nil || c.better(*best) {
				best = &c
			}
		}
		return *tried < maxCandidates
	}
	shared(pred, ref, visit)
	if best == nil {
		return 0, pred
	}
	return best.gain, best.words
}

// shared visits the sequences of words that both sides have, not too far from each other.
func shared(pred, ref []string, visit func(start, startRef, length int) bool) {
	for i := range pred {
		for j := range ref {
			if j-i > maxShiftDist || i-j > maxShiftDist {
				continue
			}
			for n := 0; n < maxShiftSize && i+n < len(pred) && j+n < len(ref) && pred[i+n] == ref[j+n]; n++ {
				if !visit(i, j, n+1) {
					return
				}
			}
		}
	}
}

// move puts words[start:start+length] where target was.
func move(words []string, start, length, target int) []string {
	piece := words[start : start+length]
	switch {
	case target < start:
		return slices.Concat(words[:target], piece, words[target:start], words[start+length:])
	case target > start+length:
		return slices.Concat(words[:start], words[start+length:target], piece, words[target:])
	}
	end := min(length+target, len(words)) // Tercom's reading of a move into itself
	return slices.Concat(words[:start], words[start+length:end], piece, words[end:])
}

func sum(x []int) (s int) {
	for _, v := range x {
		s += v
	}
	return s
}
