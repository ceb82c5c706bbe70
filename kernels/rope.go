package kernels

// Rope rotates the pairs (i, i+h) of one head, h = len(cos), by the angles whose cosines and sines are given:
//
//	y_i = x_i·cos_i - x_{i+h}·sin_i        y_{i+h} = x_{i+h}·cos_i + x_i·sin_i
//
// backward rotates the other way. Elements from 2h on are copied (partial rotary embedding). y may be x. (Su et al. 2021)
func Rope(y, x, cos, sin []float32, backward bool) {
	h := len(cos)
	y, sin = y[:len(x)], sin[:h]
	sign := float32(1)
	if backward {
		sign = -1
	}
	rope(y[:h], y[h:2*h], x[:h], x[h:2*h], cos, sin, sign)
	copy(y[2*h:], x[2*h:])
}

func ropePlain(y0, y1, x0, x1, cos, sin []float32, sign float32) {
	for i, c := range cos {
		s := sin[i] * sign
		a, b := x0[i], x1[i]
		y0[i], y1[i] = a*c-b*s, b*c+a*s
	}
}
