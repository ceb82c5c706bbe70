"""Writes classes.json: the classes of characters of the `tokenizers` library, as ranges [first, last]. Run with tokenizers 0.23."""
import json
from tokenizers import normalizers as N, pre_tokenizers as P

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
bert = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
lowercase = N.Lowercase()


def dropped(normalizer):
    return lambda c: normalizer.normalize_str(c) == ""


def pieces(pre_tokenizer, n):
    return lambda c: len(pre_tokenizer.pre_tokenize_str("a" + c + "a")) == n


CLASSES = {
    "punctuation": pieces(P.Punctuation(), 3), "digit": pieces(P.Digits(individual_digits=True), 3), "space": pieces(P.WhitespaceSplit(), 2),
    "word": pieces(P.Whitespace(), 1), "accent": dropped(N.BertNormalizer(**dict(bert, strip_accents=True))), "mark": dropped(N.StripAccents()),
    "control": dropped(N.BertNormalizer(**dict(bert, clean_text=True))), "upper": lambda c: lowercase.normalize_str(c) != c,
}


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


with open("classes.json", "w") as f:
    f.write("{\n" + ",\n".join(json.dumps(k) + ":" + json.dumps(ranges([c for c in ALL if is_(chr(c))]), separators=(",", ":"))
                              for k, is_ in CLASSES.items()) + "\n}\n")
