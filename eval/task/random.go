package task

import "math"

// Random is CPython's random.Random: the Mersenne Twister MT19937 of Matsumoto and Nishimura (1998) and the functions
// that few-shot draws and bootstraps take numbers from it with. The same seed gives the same draws as Python 3.11.
type Random struct {
	state [624]uint32
	next  int
}

// NewRandom is random.Random(seed).
func NewRandom(seed uint64) *Random {
	key := []uint32{uint32(seed)}
	if seed>>32 != 0 {
		key = append(key, uint32(seed>>32))
	}
	r := &Random{}
	s := &r.state
	s[0] = 19650218
	for i := 1; i < len(s); i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + uint32(i)
	}
	i, j := 1, 0
	step := func() {
		if i++; i >= len(s) {
			s[0] = s[len(s)-1]
			i = 1
		}
	}
	for range max(len(s), len(key)) {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1664525) + key[j] + uint32(j)
		step()
		if j++; j >= len(key) {
			j = 0
		}
	}
	for range len(s) - 1 {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1566083941) - uint32(i)
		step()
	}
	s[0] = 1 << 31
	r.next = len(s)
	return r
}

func (r *Random) uint32() uint32 {
	s := &r.state
	if r.next == len(s) {
		const m = 397
		for k := range s {
			y := s[k]&(1<<31) | s[(k+1)%len(s)]&(1<<31-1)
			x := s[(k+m)%len(s)] ^ y>>1
			if y&1 != 0 {
				x ^= 0x9908b0df
			}
			s[k] = x
		}
		r.next = 0
	}
	y := s[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Float64 is random(): a number in [0, 1) of 53 bits.
func (r *Random) Float64() float64 {
	a, b := r.uint32()>>5, r.uint32()>>6
	return (float64(a)*67108864 + float64(b)) / 9007199254740992
}

// below is a number in [0, n), n > 0, drawn by rejection.
func (r *Random) below(n int) int {
	bits := 0
	for x := n; x > 0; x >>= 1 {
		bits++
	}
	for {
		if x := r.bits(bits); x < uint64(n) {
			return int(x)
		}
	}
}

// bits is getrandbits(n) for n up to 64.
func (r *Random) bits(n int) uint64 {
	if n <= 32 {
		return uint64(r.uint32() >> (32 - n))
	}
	low := uint64(r.uint32())
	return low | uint64(r.uint32()>>(64-n))<<32
}

// Sample is sample(range(n), k): k different numbers of [0, n), k <= n.
func (r *Random) Sample(n, k int) []int {
	setsize := 21
	if k > 5 {
		setsize += int(math.Pow(4, math.Ceil(math.Log(float64(k*3))/math.Log(4))))
	}
	out := make([]int, k)
	if n <= setsize {
		pool := make([]int, n)
		for i := range pool {
			pool[i] = i
		}
		for i := range out {
			j := r.below(n - i)
			out[i], pool[j] = pool[j], pool[n-i-1]
		}
		return out
	}
	selected := make(map[int]bool, k)
	for i := range out {
		j := r.below(n)
		for selected[j] {
			j = r.below(n)
		}
		selected[j], out[i] = true, j
	}
	return out
}

// Choice is one of choices(range(n)).
func (r *Random) Choice(n int) int { return int(r.Float64() * float64(n)) }

// Shuffle is shuffle(range(n)), told as swaps.
func (r *Random) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, r.below(i+1))
	}
}
