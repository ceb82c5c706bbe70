#!/usr/bin/env python3
"""Runs the Python peers on the work of `tune bench`: a training step of PEFT on transformers, the reading of a prompt, generation, and
tokenizing with the tokenizers library.

    python3 bench/peers.py [--model DIR] [--threads N] [--repeats N] [--dtype bfloat16|float32]
    tune data convert --data builtin:licenses-text -o texts.jsonl && python3 bench/peers.py --texts texts.jsonl [--tokenizer FILE]

Needs torch, transformers and peft, with --texts tokenizers alone; says so and ends with code 0 where one is missing, because nothing
here is required. Without --model it measures random weights of the shape of SmolLM2-135M, as `tune bench` does, without --tokenizer the
built-in model's vocabulary. Prints the JSON of `tune bench --json` without peaks, so that `tune bench --compare FILE` shows the program
beside its peers.
"""

import argparse
import json
import os
import random
import resource
import statistics
import sys
import time

try:
    if any(arg.startswith("--texts") for arg in sys.argv):
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # rows are of one thread
        import tokenizers
    else:
        import torch
        import transformers
        from peft import LoraConfig, get_peft_model
except ImportError as e:
    print(f"peers.py: not installed: {e.name}; nothing was measured", file=sys.stderr)
    sys.exit(0)

SMOLLM2 = dict(
    hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, vocab_size=49152,
    max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True)


def load(args):
    dtype = getattr(torch, args.dtype)
    if args.model:
        return transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    torch.manual_seed(1)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMOLLM2)).to(dtype)


def repeat(f, repeats):
    """Seconds of each repeat, sorted, after one that does not count."""
    f()
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        took.append(time.perf_counter() - start)
    return sorted(took)


def row(name, took, count, unit="tokens/s"):
    middle = statistics.median(took)
    spread = (took[len(took) * 3 // 4] - took[len(took) // 4]) / middle
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{name}: {count / middle:.4g} {unit}", file=sys.stderr)
    return {"name": name, "value": count / middle, "unit": unit, "share_of_peak": 0, "spread": spread,
            "best": count / took[0], "peak_bytes": peak}


def prefill(model, repeats, n=512):
    ids = torch.arange(n).remainder(model.config.vocab_size)[None]

    @torch.inference_mode()
    def run():
        model(ids, logits_to_keep=1)

    return row(f"prefill/{n}", repeat(run, repeats), n)


def decode(model, repeats, prompt=64, answer=16):
    """One token after another behind a prompt, which is read again each time; its time is measured alone and taken off."""
    ids = torch.arange(prompt).remainder(model.config.vocab_size)[None]

    @torch.inference_mode()
    def run():
        out = model(ids, use_cache=True, logits_to_keep=1)
        start = time.perf_counter()
        for _ in range(answer):
            token = out.logits[:, -1:].argmax(-1)
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
        return time.perf_counter() - start

    run()
    return row("decode/1", sorted(run() for _ in range(repeats)), answer)


def train(model, repeats, batch=4, seq=512):
    """Adapters of rank 16 on every linear but the head, AdamW, gradients clipped to norm 1, as `tune bench train`."""
    peft = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    peft.train()
    trained = [p for p in peft.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4)
    ids = torch.arange(batch * seq).remainder(model.config.vocab_size).reshape(batch, seq)

    def step():
        peft(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return row(f"train/lora/{batch}x{seq}", repeat(step, repeats), batch * seq)


def documents(path, document=4 << 10, corpus=1 << 20):
    """Texts in pieces of about 4 KiB that end with a line, as `tune bench data` cuts them."""
    docs = []
    with open(path, "rb") as f:
        for line in f:
            rest = json.loads(line)["text"].encode()
            while rest and corpus > 0:
                n = rest.find(b"\n", min(document, len(rest))) + 1 or len(rest)
                docs.append(rest[:n].decode())
                rest, corpus = rest[n:], corpus - n
    return docs


def on_characters(file):
    """The tokenizer.json of byte-level BPE as SentencePiece has it, as `tune bench data` makes it."""
    def spaced(token):
        token = token.replace("\u0120", "\u2581").replace("\u010a", "\n").replace("\u0109", "\t")
        return token if all(c <= "~" or c == "\u2581" for c in token) else None

    old = file["model"]
    tokens = [spaced(t) for t in sorted(old["vocab"], key=old["vocab"].get)]
    names = dict.fromkeys(["<unk>"] + [f"<0x{i:02X}>" for i in range(256)] + [t for t in tokens if t])
    pairs = [m if isinstance(m, list) else m.split(" ") for m in old["merges"]]
    merges = [[spaced(a), spaced(b)] for a, b in pairs if spaced(a) and spaced(b)]
    return {
        "version": "1.0", "added_tokens": [], "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                  "vocab": {t: i for i, t in enumerate(names)}, "merges": merges}}


def tokenizing(path, texts, repeats):
    """MB/s of one thread: documents, and words of letters that merge in many ways."""
    with open(path, encoding="utf-8") as f:
        file = json.load(f)
    kinds = {"BPE": "bpe", "Unigram": "unigram", "WordPiece": "wordpiece"}
    kind = kinds[file["model"]["type"]]
    if kind == "bpe" and "ByteLevel" not in json.dumps(file["pre_tokenizer"]):
        kind = "sentencepiece"
    files = {kind: file} | ({"sentencepiece": on_characters(file)} if kind == "bpe" else {})
    letters = random.Random(5)
    works = {"": documents(texts)} | {
        f"/long-word/{name}": ["".join(letters.choices("thernadts", k=n))] for name, n in (("64k", 64 << 10), ("1M", 1 << 20))}
    rows = []
    for work, docs in works.items():
        size = sum(len(d.encode()) for d in docs) / 1e6
        for kind, file in files.items():
            tok = tokenizers.Tokenizer.from_str(json.dumps(file))
            rows.append(row(f"data/tokenize/{kind}{work}", repeat(lambda: [tok.encode(d) for d in docs], repeats), size, "MB/s"))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", help="a Hugging Face folder; random weights without it")
    p.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    p.add_argument("--texts", help="JSON lines with a column text: tokenizing alone is measured")
    p.add_argument("--tokenizer", default=os.path.join(os.path.dirname(__file__), "../recipes/base/tokenizer.json"), help="a tokenizer.json")
    args = p.parse_args()
    if args.repeats < 1:
        p.error(f"--repeats: expected 1 or more, found {args.repeats}")
    if args.texts:
        report({"tokenizers": tokenizers.__version__}, tokenizing(args.tokenizer, args.texts, args.repeats))
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    model = load(args).eval()
    # Training last: the peak memory of a process only ever rises.
    rows = [decode(model, args.repeats), prefill(model, args.repeats), train(model, args.repeats)]
    report({"torch": torch.__version__, "transformers": transformers.__version__}, rows)


def report(peers, rows):
    json.dump({"peers": peers, "rows": rows}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
