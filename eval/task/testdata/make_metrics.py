"""Writes metrics.jsonl and filters.jsonl: what lm-evaluation-harness 0.4.13 computes.

Usage: make_metrics.py LM_EVAL_PACKAGE OUT_FOLDER; needs lm_eval's dependencies without torch, and scikit-learn.
"""
import json, os, random, sys
from pathlib import Path

os.environ["DISABLE_MULTIPROC"] = "1"
package, out = sys.argv[1:]
sys.path.insert(0, str(Path(package).parent))
import lm_eval.filters  # noqa: F401
from lm_eval.api import metrics as M
from lm_eval.api.registry import get_filter

rnd = random.Random(3)
with open(Path(out) / "metrics.jsonl", "w") as f:
    def row(name, kind, values, draws=0):
        fn = {"f1": M.f1_score, "matthews_corrcoef": M.matthews_corrcoef, "brier_score": M.brier_score, "mean": M.mean, "median": M.median,
              "perplexity": M.perplexity, "weighted_perplexity": M.weighted_perplexity, "bits_per_byte": M.bits_per_byte, "nanmean": M.nanmean}[name]
        se = M.stderr_for_metric(fn, draws) if draws else None
        f.write(json.dumps({"aggregation": name, "kind": kind, "values": values, "value": float(fn(values)), "draws": draws, "stderr": float(se(values)) if se else None}) + "\n")
    for n in (2, 5, 40):
        binary = [(rnd.randint(0, 1), rnd.randint(0, 1)) for _ in range(n)]
        row("f1", "pair", binary, 2000)
        row("matthews_corrcoef", "pair", binary, 2000)
        row("matthews_corrcoef", "pair", [(rnd.randint(0, 4), rnd.randint(0, 4)) for _ in range(n)])
        probs = []
        for _ in range(n):
            p = [rnd.random() for _ in range(4)]
            probs.append((rnd.randint(0, 3), [x / sum(p) for x in p]))
        row("brier_score", "brier", probs)
        numbers = [rnd.gauss(0, 1) for _ in range(n)]
        row("mean", "number", numbers, 1000)
        row("median", "number", numbers, 1000)
        row("perplexity", "number", [-abs(x) for x in numbers], 3000)
        row("weighted_perplexity", "pair", [(-abs(x), rnd.randint(1, 50)) for x in numbers])
        row("bits_per_byte", "pair", [(-abs(x), rnd.randint(1, 50)) for x in numbers])
    row("f1", "pair", [(0, 0), (0, 0)])
    row("matthews_corrcoef", "pair", [(1, 1), (1, 1)])

ANSWERS = ["The answer is 42.", "#### 1,234", "nothing here", "", "  (B) it is  ", "So: C", "$12.50 and -3", "Cat\n#### 7 #### 8", "the dog ran", "A: 5\nB: 6", "THE BIG CAT!", "12, 13,"]
DOC = {"choices": ["cat", "big cat", "the dog", "bird."]}
FILTERS = [
    {"function": "regex", "regex_pattern": r"#### (\-?[0-9\.\,]+)"},
    {"function": "regex", "regex_pattern": r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1},
    {"function": "regex", "regex_pattern": r"(?<=answer is )(\d+)", "fallback": "none"},
    {"function": "remove_whitespace"}, {"function": "lowercase"}, {"function": "uppercase"}, {"function": "majority_vote"}, {"function": "take_first_k", "k": 3},
    {"function": "map", "mapping_dict": {"": "empty", "nothing here": 5}, "default_value": "other"},
    {"function": "multi_choice_regex", "regex_pattern": r"(\([A-Z]\))", "ignore_case": True, "ignore_punctuation": True},
    {"function": "multi_choice_regex", "regex_pattern": r"(\([A-Z]\))", "regexes_to_ignore": [r"\s+$", "The "]},
]
EXACT = [{}, {"ignore_case": True}, {"ignore_punctuation": True}, {"ignore_numbers": True}, {"regexes_to_ignore": [",", r"\$", "(?s).*#### ", r"\.$"], "ignore_case": True}]
PAIRS = [("42", "42"), ("Cat", "cat"), ("1,234", "1234"), ("a b", "a b."), ("x\n#### 5.", "5"), ("room 12", "room"), ("$5", "5")]
with open(Path(out) / "filters.jsonl", "w") as f:
    for spec in FILTERS:
        fn = get_filter(spec["function"])(**{k: v for k, v in spec.items() if k != "function"})
        got = list(fn.apply([ANSWERS], [DOC]))[0]
        f.write(json.dumps({"filter": spec, "doc": DOC, "answers": ANSWERS, "filtered": [str(x) for x in got]}) + "\n")
    for o in EXACT:
        scores = [float(M.exact_match_hf_evaluate(predictions=[a], references=[b], **o)["exact_match"]) for a, b in PAIRS]
        f.write(json.dumps({"exact_match": o, "pairs": PAIRS, "scores": scores}) + "\n")
