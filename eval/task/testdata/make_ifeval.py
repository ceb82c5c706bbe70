"""Writes ifeval.jsonl: what the checkers of lm-evaluation-harness 0.4.13 say of answers, for the instructions that need
no natural-language package.

Usage: make_ifeval.py LM_EVAL_PACKAGE OUT; needs nltk without its data.
"""
import json, sys, types
from pathlib import Path

package, out = sys.argv[1:]
sys.path.insert(0, str(Path(package).parent))
for name, content in {"langdetect": {}, "immutabledict": {"immutabledict": dict}}.items():
    sys.modules.setdefault(name, types.ModuleType(name)).__dict__.update(content)
import nltk
nltk.download = lambda *a, **k: True
from lm_eval.tasks.ifeval import instructions_registry as R
from lm_eval.tasks.ifeval import utils as U

ANSWERS = [
    "Hello, world. This is simple and careful.\n\nSecond paragraph here.", "", "* one\n* two\n* three", "- a\n* b\n** c\n*d", "<<A title>>\nText with [name] and [place].",
    "My answer is yes.", "*high* and **very high** and ** **", "Section 1 text\nSection 2 more", "one\n***\ntwo\n***\nthree", "***\none\n***\ntwo", "```json\n{\"a\": [1, 2]}\n```", "{\"a\": }",
    "First\n******\nSecond", "******\nSame\n******\nSame", "\"Quoted answer\"", "It ends so. Is there anything else?", "P.S. remember\np. s. again", "Text\n\nP.P.S more",
    "because it is so, because we say so. BECAUSE", "Do not use, ever.", "word " * 65, "Write a poem. Then the poem: roses", "  write A POEM. yes", "Intro line\n* x\n* y\nLast line",
    "Here you go:\n\"Quoted\"\nDone", "alpha beta\n\ngamma delta\n\nepsilon", "\"Alpha, beta\n\n'gamma' delta", "aaaa bbb AAA", "<<>> <<  >>", "*\n*\n*", "A very *good*  *idea*",
]
CASES = [
    ("keywords:existence", {"keywords": ["simple", "careful"]}), ("keywords:frequency", {"keyword": "because", "frequency": 2, "relation": "at least"}),
    ("keywords:frequency", {"keyword": "because", "frequency": 3, "relation": "less than"}), ("keywords:forbidden_words", {"forbidden_words": ["very", "use"]}),
    ("keywords:letter_frequency", {"letter": "a", "let_frequency": 6, "let_relation": "at least"}), ("length_constraints:number_paragraphs", {"num_paragraphs": 3}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}), ("length_constraints:number_words", {"num_words": 60, "relation": "at least"}),
    ("length_constraints:number_words", {"num_words": 5, "relation": "less than"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "gamma"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "alpha"}),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}), ("detectable_content:postscript", {"postscript_marker": "P.S."}),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}), ("detectable_format:number_bullet_lists", {"num_bullets": 3}), ("detectable_format:number_bullet_lists", {"num_bullets": 2}),
    ("detectable_format:constrained_response", {}), ("detectable_format:number_highlighted_sections", {"num_highlights": 2}),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}), ("detectable_format:json_format", {}), ("detectable_format:title", {}),
    ("combination:two_responses", {}), ("combination:repeat_prompt", {"prompt_to_repeat": "Write a poem."}), ("startend:end_checker", {"end_phrase": "Is there anything else?"}),
    ("startend:quotation", {}), ("punctuation:no_comma", {}),
]
with open(out, "w", encoding="utf8") as f:
    for id, kwargs in CASES:
        for answer in ANSWERS:
            doc = {"key": 0, "instruction_id_list": [id], "prompt": "Write a poem.", "kwargs": [kwargs]}
            r = U.process_results(doc, [answer])
            f.write(json.dumps({"doc": doc, "answer": answer, "strict": r["inst_level_strict_acc"][0], "loose": r["inst_level_loose_acc"][0]}, ensure_ascii=False) + "\n")
