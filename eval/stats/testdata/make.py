"""Makes golden.json: what SciPy and statsmodels say. python3 make.py > golden.json"""
import json, math, itertools
import numpy as np, scipy, statsmodels
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.multitest import multipletests
import statsmodels.api as sm

rng = np.random.default_rng(7)
out = {"made_by": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}}

out["mcnemar"] = []
for t in [(40, 12, 5, 43), (0, 1, 0, 0), (3, 0, 0, 2), (100, 30, 61, 9), (5000, 700, 800, 3500), (10, 7, 7, 1), (1, 0, 9, 0)]:
    both, ob, oa, none = t
    out["mcnemar"].append({"table": t, "p": float(mcnemar([[both, ob], [oa, none]], exact=True).pvalue)})

out["wilson"] = []
for k, n, level in [(0, 10, .95), (10, 10, .95), (49, 100, .95), (3, 7, .9), (9000, 14042, .99), (1, 2, .95)]:
    lo, hi = proportion_confint(k, n, alpha=1 - level, method="wilson")
    out["wilson"].append({"k": k, "n": n, "level": level, "low": float(lo), "high": float(hi)})

out["mean"], out["cluster"] = [], []
for n, g in [(5, 2), (40, 7), (200, 31)]:
    c = np.arange(n) % g; rng.shuffle(c)
    x = rng.normal(size=n) + 0.5 * c
    fit = sm.OLS(x, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": c})
    out["mean"].append({"x": x.tolist(), "mean": float(x.mean()), "stderr": float(stats.sem(x))})
    out["cluster"].append({"x": x.tolist(), "cluster": [str(v) for v in c], "stderr": float(fit.bse[0])})

out["multiple"] = []
for p in [[.01, .04, .03, .005], [.5], [.2, .2, .9, .001, .04, .04], sorted(rng.uniform(size=12).tolist())]:
    out["multiple"].append({"p": p, "holm": multipletests(p, method="holm")[1].tolist(), "bh": multipletests(p, method="fdr_bh")[1].tolist()})

def diff(a, b, axis=-1):
    return np.mean(b, axis=axis) - np.mean(a, axis=axis)

out["permutation"] = []
for n, shift in [(4, 1.), (9, .4), (12, .8), (12, 0.)]:
    a = rng.normal(size=n); b = a + rng.normal(scale=.7, size=n) + shift
    r = stats.permutation_test((a, b), diff, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    out["permutation"].append({"before": a.tolist(), "after": b.tolist(), "p": float(r.pvalue), "exact": True})
for n, shift in [(60, .1), (150, .15)]:
    a = rng.normal(size=n); b = a + rng.normal(scale=.7, size=n) + shift
    r = stats.permutation_test((a, b), diff, permutation_type="samples", n_resamples=400000, vectorized=True, batch=20000, rng=np.random.default_rng(1))
    out["permutation"].append({"before": a.tolist(), "after": b.tolist(), "p": float(r.pvalue), "exact": False})

out["bootstrap"] = []
for n in (30, 150):
    a = rng.normal(size=n); b = a + rng.normal(scale=.7, size=n) + .2
    r = stats.bootstrap((a, b), diff, paired=True, method="percentile", n_resamples=400000, vectorized=True, batch=20000, rng=np.random.default_rng(1))
    out["bootstrap"].append({"before": a.tolist(), "after": b.tolist(), "low": float(r.confidence_interval.low), "high": float(r.confidence_interval.high), "stderr": float(r.standard_error)})

# Newcombe's method 10 with exact rational arithmetic where there is no root; the formula is in the paper, no library has it.
from fractions import Fraction as F
out["newcombe"] = []
for a, b, c, d in [(20, 12, 2, 16), (36, 12, 2, 0), (3, 0, 0, 2), (20, 5, 5, 20), (0, 8, 1, 1), (10, 0, 0, 0), (2, 9, 9, 2), (60, 11, 23, 6)]:
    n = a + b + c + d
    q = stats.norm.ppf(.975)
    def w(k):
        lo, hi = proportion_confint(k, n, alpha=.05, method="wilson")
        return float(lo), float(hi)
    (l2, u2), (l3, u3) = w(a + b), w(a + c)
    p2, p3 = float(F(a + b, n)), float(F(a + c, n))
    prod = (a + b) * (c + d) * (a + c) * (b + d)
    num = F(a * d - b * c)
    if num > 0:
        num = max(num - F(n, 2), F(0))
    phi = float(num) / math.sqrt(prod) if prod else 0.
    dl2, du2, dl3, du3 = p2 - l2, u2 - p2, p3 - l3, u3 - p3
    delta = math.sqrt(dl2 ** 2 - 2 * phi * dl2 * du3 + du3 ** 2)
    eps = math.sqrt(du2 ** 2 - 2 * phi * du2 * dl3 + dl3 ** 2)
    out["newcombe"].append({"both": a, "after": b, "before": c, "neither": d, "low": p2 - p3 - delta, "high": p2 - p3 + eps})
print(json.dumps(out))
