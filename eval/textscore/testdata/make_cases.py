"""Writes cases.jsonl: scores of sacrebleu 2.6.0 and rouge-score 0.1.2 for pairs of texts."""
import json, random
import sacrebleu
from rouge_score import rouge_scorer

WORDS = "the a cat dog sat on mat , . quickly ran over under big small red 12.5 it's don't U.S. \"quoted\" - café naïve 東京 (see) $5 50% 3-4 &amp; end".split()
rnd = random.Random(7)


def text(n):
    return " ".join(rnd.choice(WORDS) for _ in range(n))


def noisy(s):
    w = s.split()
    for _ in range(rnd.randint(0, 4)):
        k = rnd.randint(0, 3)
        i = rnd.randrange(len(w)) if w else 0
        if k == 0 and w:
            del w[i]
        elif k == 1:
            w.insert(i, rnd.choice(WORDS))
        elif k == 2 and w:
            w[i] = rnd.choice(WORDS)
        elif k == 3 and len(w) > 4:
            j = rnd.randrange(len(w) - 2)
            piece = w[j:j + 2]
            del w[j:j + 2]
            at = rnd.randrange(len(w) + 1)
            w[at:at] = piece
    return " ".join(w)


scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
with open("cases.jsonl", "w", encoding="utf8") as f:
    for case in range(60):
        docs = rnd.choice([1, 1, 2, 5])
        refs_per = rnd.choice([1, 1, 2, 3])
        refs, preds = [], []
        for _ in range(docs):
            base = text(rnd.randint(0 if case % 10 == 0 else 1, 30))
            refs.append([noisy(base) for _ in range(refs_per)])
            preds.append(noisy(base) if rnd.random() < 0.9 else text(rnd.randint(0, 8)))
        if case % 7 == 3:
            preds[0] = preds[0].replace(" . ", ".\n") + "\nThe End.\n"
            refs[0][0] = refs[0][0].replace(", ", ",\n")
        streams = list(zip(*refs))
        rouge = scorer.score(refs[0][0], preds[0])
        f.write(json.dumps({
            "references": refs, "predictions": preds,
            "bleu": sacrebleu.corpus_bleu(preds, streams).score,
            "chrf": sacrebleu.corpus_chrf(preds, streams).score,
            "chrf++": sacrebleu.corpus_chrf(preds, streams, word_order=2).score,
            "ter": sacrebleu.corpus_ter(preds, streams).score,
            "intl": sacrebleu.corpus_bleu([preds[0]], [[refs[0][0]]], smooth_method="exp", smooth_value=0.0, force=False, lowercase=False, tokenize="intl", use_effective_order=False).score,
            **{k: v.fmeasure for k, v in rouge.items()},
        }, ensure_ascii=False) + "\n")
