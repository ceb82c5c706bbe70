"""Writes prompts.jsonl: fingerprints of requests that lm-evaluation-harness 0.4.13 makes of its own task files.

Usage: make_prompts.py LM_EVAL_PACKAGE SHARED OUT; needs lm_eval's dependencies without torch. The data sets are those of
the shared folder, in the way that sources.yaml says; languages are cut into files of their own first. A row is a task
with settings: how many examples, whether a chat template is applied (a plain one, see render), the instruction of the system.
"""
import hashlib, json, os, sys, tempfile
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"
PACKAGE, SHARED, OUT = sys.argv[1:]
sys.path.insert(0, str(Path(PACKAGE).parent))
import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

TASKS = Path(PACKAGE) / "tasks"
DATA = Path(SHARED) / "data"
tmp = Path(tempfile.mkdtemp())


def by_language(folder, splits):
    """Files of one language each."""
    def files(name):
        out = {}
        for split in splits:
            p = tmp / f"{folder}-{name}-{split}.parquet"
            if not p.exists():
                d = datasets.load_dataset("parquet", data_files={"x": str(DATA / f"eval/{folder}/{split}.parquet")})["x"]
                d.filter(lambda r: r["language"] == name).to_parquet(str(p))
            out[split] = str(p)
        return out
    return files


mbpp = tmp / "mbpp.jsonl"
mbpp.write_text("".join(l for l in (DATA / "eval/mbpp/mbpp.jsonl").read_text().splitlines(True) if 10 < json.loads(l)["task_id"] <= 510))
E = DATA / "eval"
SOURCES = {
    "xcopa": ("parquet", by_language("xcopa", ["validation", "test"]), {}),
    "mgsm": ("parquet", by_language("mgsm", ["train", "test"]), {}),
    "gsm8k": ("parquet", lambda _: {"train": str(E / "gsm8k/train.parquet"), "test": str(E / "gsm8k/test.parquet")}, {}),
    "truthfulqa_gen": ("parquet", lambda _: {"validation": str(E / "truthfulqa/generation_validation.parquet")}, {}),
    "humaneval": ("json", lambda _: {"test": str(E / "humaneval/humaneval.jsonl")}, {}),
    "mbpp": ("json", lambda _: {"test": str(mbpp)}, {}),
    "arc": ("parquet", lambda _: {s: str(E / f"arc_easy/{s}.parquet") for s in ("train", "validation", "test")}, {}),
    "copa": ("parquet", lambda _: {"validation": str(E / "copa/validation.parquet")}, {"training_split": None}),
    "winogrande": ("parquet", lambda _: {"validation": str(E / "winogrande/validation.parquet")}, {"training_split": None}),
    "lambada": ("parquet", lambda _: {"test": str(E / "lambada/test.parquet")}, {}),
}
LANGUAGES = ["bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"]
# task, file, source, examples
RUNS = [(f"xcopa_{l}", f"xcopa/default_{l}.yaml", "xcopa", n) for l in ["et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"] for n in (0, 3)]
RUNS += [(f"mgsm_{k}_{l}", f"mgsm/{k}/mgsm_{k}_{l}.yaml", "mgsm", n) for k in ("direct", "en_cot", "native_cot") for l in LANGUAGES for n in (0, 4)]
RUNS += [("gsm8k_cot", "gsm8k/gsm8k-cot.yaml", "gsm8k", 8), ("gsm8k_cot_zeroshot", "gsm8k/gsm8k-cot-zeroshot.yaml", "gsm8k", 0), ("gsm8k", "gsm8k/gsm8k.yaml", "gsm8k", 5),
         ("truthfulqa_gen", "truthfulqa/truthfulqa_gen.yaml", "truthfulqa_gen", 0),
         ("humaneval", "humaneval/humaneval.yaml", "humaneval", 0), ("humaneval_instruct", "humaneval/humaneval_instruct.yaml", "humaneval", 0),
         ("humaneval_64", "humaneval/humaneval_64.yaml", "humaneval", 0),
         ("mbpp", "mbpp/mbpp.yaml", "mbpp", 3), ("mbpp_instruct", "mbpp/mbpp_instruct.yaml", "mbpp", 3),
         ("arc_easy", "arc/arc_easy.yaml", "arc", 3), ("copa", "super_glue/copa/default.yaml", "copa", 2), ("winogrande", "winogrande/default.yaml", "winogrande", 3),
         ("lambada_openai", "lambada/lambada_openai.yaml", "lambada", 0), ("lambada_openai", "lambada/lambada_openai.yaml", "lambada", 2)]
CHATTED = {"gsm8k", "gsm8k_cot", "humaneval_instruct", "mbpp_instruct", "arc_easy", "copa", "winogrande", "mgsm_direct_de", "mgsm_native_cot_zh"}


def render(history, add_generation_prompt=True, **_):
    lines = ["<" + m["role"] + ">" + m["content"] for m in history]
    return "\n".join(lines) + ("\n<assistant>" if add_generation_prompt else "")


def stub_code_eval():
    """humaneval and mbpp load a metric that runs code when they are imported; only their prompts are wanted."""
    import evaluate

    class Nothing:
        def compute(self, **_):
            return [{"pass@1": 0.0}]
    evaluate.load = lambda *_: Nothing()


stub_code_eval()
with open(OUT, "w", encoding="utf8") as out:
    for name, file, source, shots in RUNS:
        for chat, multi, system in [(False, False, None)] + ([(True, False, None), (True, True, "Be brief."), (False, False, "Be brief.")] if name in CHATTED else []):
            config = load_yaml(TASKS / file)
            kind, files, keys = SOURCES[source]
            config.update(dataset_path=kind, dataset_kwargs={"data_files": files(config.get("dataset_name"))}, dataset_name=None, **keys)
            config["num_fewshot"] = shots
            task = ConfigurableTask(config=config)
            task.set_fewshot_seed(1234)
            task.build_all_requests(limit=25, rank=0, world_size=1, system_instruction=system, apply_chat_template=chat, fewshot_as_multiturn=multi,
                                    chat_template=render if chat else None, tokenizer_name="")
            pairs = [list(i.args[:2]) if i.request_type == "loglikelihood" else [i.args[0], i.args[1]] for i in task.instances]
            text = json.dumps([[p[0], p[1] if isinstance(p[1], str) else None] for p in pairs], ensure_ascii=False)
            targets = json.dumps([str(task.doc_to_target(i.doc)) for i in task.instances], ensure_ascii=False)
            out.write(json.dumps({"task": name, "shots": shots, "chat": chat, "multi_turn": multi, "system": system, "requests": len(pairs),
                                  "prompts": hashlib.sha256(text.encode()).hexdigest(), "targets": hashlib.sha256(targets.encode()).hexdigest(),
                                  "last": pairs[-1][0][-160:]}, ensure_ascii=False) + "\n")
