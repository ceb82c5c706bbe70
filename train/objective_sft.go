package train

import G "gorgonia.org/gorgonia"

// sftFormula is the mean negative log-likelihood of the supervised tokens: -sum(weight * logp), weight 1/count.
func sftFormula(logp *G.Node, x []*G.Node) (*G.Node, error) {
	weighted, err := G.HadamardProd(logp, x[0])
	if err != nil {
		return nil, err
	}
	sum, err := G.Sum(weighted)
	if err != nil {
		return nil, err
	}
	return G.Neg(sum)
}

func sftOperands(b *MicroBatch, count int64) []operand {
	w := make([]float64, len(b.Labels))
	for i, l := range b.Labels {
		if l >= 0 {
			w[i] = 1 / float64(count)
		}
	}
	return []operand{{"weight", len(w), 1, w}}
}
