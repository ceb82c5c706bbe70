"""Writes tiny.json (two small vocabularies) and cases.jsonl: pipelines over them with what the `tokenizers` library answers.

Run with tokenizers 0.23 installed: python make_cases.py. The texts and vocabularies are our own.
"""
import json
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PROSE = """The parties agree that this agreement, dated 3 May 2024, shall be governed by the laws of the state.
The tenant shall pay the rent on the first day of each month; the landlord shall keep the house in repair.
If the tenant doesn't pay, the landlord's agent may give notice. They're to pay 1,200 a month, and 12% after that.
Das Haus wird vermietet. La maison est louée à l'année. Это дом. 这是房子。 def rent(month): return 100 * month
""".splitlines()

# A normalized token that is also special is left out: with a normaliser that changes its spelling the library no longer skips it.
TEXTS = PROSE + [
    "", " ", "  ", "\n", "\n\n  \n", " \t x", "a", " a", "a ", "  the  rent  ", "the\n\n\nrent", "the rent\r\nthe rent ", "don't DON'T x'ſ we'LL '",
    "1234567 12 3", "½²٣", "!!!!!!", "...the", "(rent)", "the_rent the-rent", "café cafe\u0301 한국 \u1112\u1161\u11ab \u0344 \u0958", "été",
    "Это дом, да?", "这是房子", "👍🏽 \U0001fae9 \U0001ccf0", "\x00\x01\x7f\u0085\u00a0\u2028\u3000\u200b", "▁the ▁ rent", "<s>the</s>",
    "a<|x|>b", " <|x|> the", "the <|x|>rent", "<|x|><|x|>", "<n> rent<n>", "  <n>  ", "word", "a word b", "swords", "word!", "<0x41>", "Rent", "RENT",
    "the" * 20, "rent " * 20, "x" * 70, "ab" * 40 + "the rent",
]

IDS = [[], [5], [300, 301, 40], [270, 3, 5, 90], [200, 201, 202], list(range(60, 80)), [250, 251, 10, 252], [10000, 40], [4, 3, 3, 100, 1]]


def vocab(byte_level):
    special = ["<s>", "</s>", "<unk>", "<|x|>", "<n>"]
    if byte_level:
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:-6]  # some bytes are missing, as in published vocabularies
        size = 340
    else:
        special += ["<0x%02X>" % b for b in range(256)]
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        alphabet, size = list("▁abcdefghijklmnopqrstuvwxyz"), 420
    t.train_from_iterator(PROSE * 3, trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    m = json.loads(t.to_str())["model"]
    return {"vocab": m["vocab"], "merges": m["merges"]}


def pieces():
    """A unigram model: the pieces of the SentencePiece-style vocabulary with scores that fall with their ids."""
    tokens = sorted(vocab(False)["vocab"].items(), key=lambda kv: kv[1])
    return {"type": "Unigram", "unk_id": 2, "vocab": [[t, -i / 64] for t, i in tokens], "byte_fallback": False}


def wordpieces():
    special = ["<s>", "</s>", "<unk>", "<|x|>", "<n>"]
    t = Tokenizer(models.WordPiece(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator([p.lower() for p in PROSE] * 3, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    m = json.loads(t.to_str())["model"]
    return {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 12, "vocab": m["vocab"]}


BASE = {"byte": vocab(True), "sp": vocab(False), "pieces": pieces(), "words": wordpieces()}
for base in (BASE["byte"], BASE["sp"]):  # the bytes left out came back through the texts' own characters: only ASCII and a few others matter
    assert len(base["merges"]) > 40

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PLAIN = dict(GPT2, use_regex=False)
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


O200K = "|".join([r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                  r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                  r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"])
TEKKEN = O200K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace(r"\p{N}{1,3}", r"\p{N}")
CASED = ["HelloWorld helloWORLD HELLOworld JSONParser", "don'T IT'S we'Ll x'", "\u0301ABC \u0301abc A\u0301b a\u0301B", "ǅabc ʰABC ªB 中文Abc ABC中文",
         "a/b// /\n !!/\r\n", "1234abcDEF", "  Tab\tTab", "ÀÉÎõü ßA", "#Tag @User _x __X"]


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def seq(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def pre(*steps):
    return seq("pretokenizers", *steps)


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
SP_DECODER = seq("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                 {"type": "Strip", "content": " ", "start": 1, "stop": 0})
TEMPLATE = {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}


def metaspace(scheme, cut):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}


def added(**flags):
    """Tokens <s> and </s> plain, <|x|>, <n> and word with the flags given for them."""
    out = []
    for i, c in enumerate(["<s>", "</s>", "<unk>", "<|x|>", "<n>", "word"]):
        a = {"id": i if i < 5 else 10000, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": i < 4}
        a.update(flags.get({"<|x|>": "x", "<n>": "n", "word": "word"}.get(c), {}))
        if i < 5 or "word" in flags:
            out.append(a)
    return out


BYTE = {"decoder": GPT2}
SP = {"decoder": SP_DECODER, "model": {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}}
PIPELINES = [
    ("gpt2", "byte", dict(BYTE, pre_tokenizer=GPT2)),
    ("gpt2-prefix-trim", "byte", dict(BYTE, pre_tokenizer=dict(GPT2, add_prefix_space=True), post_processor=dict(GPT2, add_prefix_space=True))),
    ("trim", "byte", dict(BYTE, pre_tokenizer=GPT2, post_processor=GPT2, normalizer={"type": "NFC"})),
    ("llama3", "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": LLAMA3}), PLAIN), post_processor=TEMPLATE, model={"ignore_merges": True})),
    ("llama3-removed", "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": LLAMA3}, "Removed", True), PLAIN))),
    ("qwen2", "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": QWEN2}), PLAIN), normalizer={"type": "NFC"}, post_processor=seq("processors", PLAIN, TEMPLATE))),
    ("smollm", "byte", dict(BYTE, pre_tokenizer=pre({"type": "Digits", "individual_digits": True}, GPT2))),
    ("digit-runs", "byte", dict(BYTE, pre_tokenizer=pre({"type": "Digits", "individual_digits": False}, PLAIN))),
    ("unk", "byte", dict(BYTE, pre_tokenizer=GPT2, model={"unk_token": "<unk>"})),
    ("fuse-unk", "byte", dict(BYTE, pre_tokenizer=GPT2, model={"unk_token": "<unk>", "fuse_unk": True})),
    ("no-decoder", "byte", dict(pre_tokenizer=GPT2)),
    ("legacy", "sp", dict(SP, normalizer=seq("normalizers", {"type": "Prepend", "prepend": "▁"}, REPLACE), post_processor=TEMPLATE)),
    ("metaspace-first", "sp", dict(SP, pre_tokenizer=metaspace("first", False), decoder=metaspace("first", False))),
    ("metaspace-always", "sp", dict(SP, pre_tokenizer=metaspace("always", True), decoder=metaspace("always", True))),
    ("metaspace-never", "sp", dict(SP, pre_tokenizer=metaspace("never", True), decoder=metaspace("never", True))),
    ("no-fallback", "sp", dict(SP, normalizer=REPLACE, model={"unk_token": "<unk>", "fuse_unk": False})),
    ("string-split", "sp", dict(SP, normalizer=REPLACE, pre_tokenizer=split({"String": "▁"}, "MergedWithPrevious"))),
    ("flags", "byte", dict(BYTE, pre_tokenizer=GPT2, added_tokens=added(x={"lstrip": True}, n={"rstrip": True}, word={"single_word": True}))),
    ("flags-normalized", "sp", dict(SP, normalizer=seq("normalizers", {"type": "Prepend", "prepend": "▁"}, REPLACE),
                                    added_tokens=added(x={"normalized": True, "special": False}, n={"normalized": True, "lstrip": True, "rstrip": True}, word={"normalized": True}))),
    ("three-splits", "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": r"\p{N}{1,3}"}), split({"Regex": "[一-龥]+"}),
                                                         split({"Regex": r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}), PLAIN))),
    ("o200k", "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": O200K}), PLAIN))),
    ("tekken", "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": TEKKEN}), PLAIN))),
    ("after-bytes", "byte", dict(BYTE, pre_tokenizer=pre({"type": "Punctuation", "behavior": "Contiguous"}, GPT2, {"type": "Digits", "individual_digits": False},
                                                        split({"Regex": "[0-9][0-9][0-9]"})))),
    ("simple-patterns", "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": r"\s?[a-zé\p{N}]+"}), split({"Regex": r"[\s,]{2,3}"}), split({"Regex": r"\s+$"}),
                                                            split({"Regex": r"\s?\p{P}"}, "Removed"), PLAIN))),
    ("folded", "sp", dict(SP, normalizer=seq("normalizers", {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True},
                                             {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": "▁"}))),
    ("no-accents", "sp", dict(SP, normalizer=seq("normalizers", {"type": "NFKD"}, {"type": "StripAccents"}, REPLACE))),
    ("nfd", "byte", dict(BYTE, normalizer={"type": "NFD"}, pre_tokenizer=pre({"type": "Whitespace"}, PLAIN),
                         post_processor={"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": False})),
    ("bert", "sp", dict(SP, normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
                        pre_tokenizer={"type": "BertPreTokenizer"}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
                        post_processor={"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]})),
    ("delimiter", "sp", dict(SP, pre_tokenizer=pre({"type": "WhitespaceSplit"}, {"type": "CharDelimiterSplit", "delimiter": "e"}))),
    ("unigram", "pieces", dict(pre_tokenizer=metaspace("always", True), decoder=metaspace("always", True))),
    ("unigram-bytes", "pieces", dict(normalizer=REPLACE, decoder=SP_DECODER, model={"byte_fallback": True})),
    ("wordpiece", "words", dict(normalizer={"type": "Lowercase"}, pre_tokenizer={"type": "BertPreTokenizer"}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": False})),
] + [("split-" + b + ("-invert" if i else ""), "byte", dict(BYTE, pre_tokenizer=pre(split({"Regex": r"\s?[a-z]+"}, b, i), PLAIN)))
     for b in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous") for i in (False, True)]


def build(base, patch):
    if base in ("pieces", "words"):
        model = dict(BASE[base], **patch.get("model", {}))
        return dict({"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(), "normalizer": None, "pre_tokenizer": None,
                     "post_processor": None, "decoder": None}, **dict(patch, model=model))
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    model.update(patch.get("model", {}))
    model.update(BASE[base])
    t = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(), "normalizer": None, "pre_tokenizer": None,
         "post_processor": None, "decoder": None}
    t.update({k: v for k, v in patch.items() if k != "model"})
    return dict(t, model=model)


def case(t, plain, text):
    cum = [0]
    for c in text:
        cum.append(cum[-1] + len(c.encode()))
    t.encode_special_tokens = False
    e = t.encode(text, add_special_tokens=False)
    out = {"text": text, "ids": e.ids, "offsets": [[cum[a], cum[b]] for a, b in e.offsets],
           "ids_special": t.encode(text).ids, "decoded": t.decode(e.ids, skip_special_tokens=False),
           "decoded_skip": t.decode(e.ids, skip_special_tokens=True)}
    t.encode_special_tokens = True
    plain = t.encode(text, add_special_tokens=False).ids
    if plain != out["ids"]:  # absent: the same, here and below
        out["ids_plain"] = plain
    if out["decoded_skip"] == out["decoded"]:
        del out["decoded_skip"]
    return out


with open("tiny.json", "w") as f:
    json.dump(BASE, f, ensure_ascii=False)
    f.write("\n")
with open("cases.jsonl", "w") as f:
    for name, base, patch in PIPELINES:
        file = build(base, patch)
        t = Tokenizer.from_str(json.dumps(file))
        if "word" in [a["content"] for a in file["added_tokens"]]:  # the library chooses the id itself
            for a in patch["added_tokens"]:
                a["id"] = t.token_to_id(a["content"])
        decode = [{"ids": ids, "decoded": t.decode(ids, skip_special_tokens=False), "decoded_skip": t.decode(ids, skip_special_tokens=True)} for ids in IDS]
        f.write(json.dumps({"name": name, "base": base, "patch": patch, "cases": [case(t, None, x) for x in (TEXTS + CASED if name in ("o200k", "tekken") else TEXTS)], "decode": decode},
                           ensure_ascii=False, separators=(",", ":")) + "\n")
