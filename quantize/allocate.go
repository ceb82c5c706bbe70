package quantize

import "math"

// option is one way to store a tensor.
type option struct {
	bytes int64
	loss  float64
}

// exchanges bounds the exchanges of allocate; each lowers the loss, and few are ever found.
const exchanges = 64

// allocate takes one option for each tensor, with the least sum of losses that it finds within the budget: nil when even the
// smallest options do not fit. By Lagrangian relaxation (Everett, "Generalized Lagrange multiplier method", 1963; Shoham and
// Gersho, "Efficient bit allocation for an arbitrary set of quantizers", 1988) each tensor minimizes loss + lambda bytes on its
// own; bisection finds the smallest lambda whose choice fits. That choice is optimal for the bytes it takes. What is left of
// the budget is filled with the upgrades that gain most for a byte, then with exchanges of one upgrade for one downgrade.
func allocate(tensors [][]option, budget int64) []int {
	at := func(lambda float64) (pick []int, bytes int64) {
		pick = make([]int, len(tensors))
		for i, list := range tensors {
			for j, o := range list {
				now := list[pick[i]]
				a, b := o.loss+lambda*float64(o.bytes), now.loss+lambda*float64(now.bytes)
				if math.IsInf(lambda, 1) {
					a, b = float64(o.bytes), float64(now.bytes)
				}
				if a < b || a == b && o.bytes < now.bytes {
					pick[i] = j
				}
			}
			bytes += list[pick[i]].bytes
		}
		return pick, bytes
	}
	pick, bytes := at(math.Inf(1))
	if bytes > budget {
		return nil
	}
	if best, n := at(0); n <= budget {
		return best
	}
	// steps between the smallest and the largest slope that float64 can tell from none
	low, high := -200.0, 200.0 // log2 of lambda
	for range 100 {
		middle := (low + high) / 2
		if p, n := at(math.Exp2(middle)); n <= budget {
			pick, bytes, high = p, n, middle
		} else {
			low = middle
		}
	}
	rest := budget - bytes
	for range exchanges {
		rest = fill(tensors, pick, rest)
		n, ok := exchange(tensors, pick, rest)
		if !ok {
			break
		}
		rest = n
	}
	return pick
}

// fill upgrades tensors while one that fits has a lower loss, and returns what is left.
func fill(tensors [][]option, pick []int, rest int64) int64 {
	for {
		best, to, most := -1, 0, 0.0
		for i, list := range tensors {
			now := list[pick[i]]
			for j, o := range list {
				more, gain := o.bytes-now.bytes, now.loss-o.loss
				if gain <= 0 || more > rest {
					continue
				}
				if rate := gain / float64(max(more, 1)); rate > most {
					best, to, most = i, j, rate
				}
			}
		}
		if best < 0 {
			return rest
		}
		rest -= tensors[best][to].bytes - tensors[best][pick[best]].bytes
		pick[best] = to
	}
}

// exchange makes the change of two tensors that lowers the sum of their losses most, if there is one.
func exchange(tensors [][]option, pick []int, rest int64) (int64, bool) {
	most, found := 0.0, [4]int{}
	for i, list := range tensors {
		for j, up := range list {
			more, gain := up.bytes-list[pick[i]].bytes, list[pick[i]].loss-up.loss
			if gain <= most {
				continue // the other change only costs
			}
			for k, other := range tensors {
				if k == i {
					continue
				}
				now := other[pick[k]]
				for l, down := range other {
					if sum := gain + now.loss - down.loss; sum > most*(1+1e-12) && more+down.bytes-now.bytes <= rest {
						most, found = sum, [4]int{i, j, k, l}
					}
				}
			}
		}
	}
	if most <= 0 {
		return rest, false
	}
	i, j, k, l := found[0], found[1], found[2], found[3]
	rest -= tensors[i][j].bytes - tensors[i][pick[i]].bytes + tensors[k][l].bytes - tensors[k][pick[k]].bytes
	pick[i], pick[k] = j, l
	return rest, true
}
