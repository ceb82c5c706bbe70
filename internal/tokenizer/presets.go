package tokenizer

import (
	"slices"
	"strings"

	"tune/internal/hint"
)

// A preset is a way to cut words that files call by a name (tokenizer.ggml.pre of GGUF) or leave out (tiktoken). The normaliser is
// the one of the published tokenizer.json, which llama.cpp does not carry out.
type preset struct {
	names  string
	steps  []object // of the pre-tokenizer
	nfc    bool
	ignore bool // a word that is a token is that token
	bos    bool // a text begins with the beginning-of-text token, when the file does not say
	ranks  int  // number of tokens of the published tiktoken file
}

// presets; the first name of a row is ours.
var presets = []preset{
	{names: "gpt2 gpt-2 phi-2 jais roberta-bpe", steps: cutByteLevel, ranks: 50256},
	{names: "mpt olmo", steps: cutByteLevel, nfc: true},
	{names: "smollm starcoder refact command-r codeshell", steps: []object{{"type": "Digits", "individual_digits": true}, byteLevelRegex}},
	{names: "llama3 llama-bpe llama-v3 falcon3 pixtral", steps: cutRegex(patternLlama3), ignore: true, bos: true, ranks: 128000},
	{names: "cl100k dbrx smaug-bpe chatglm-bpe", steps: cutRegex(patternLlama3), ranks: 100256},
	{names: "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez", steps: cutRegex(patternQwen2), nfc: true, ranks: 151643},
	{names: "o200k gpt-4o llama4 gpt-oss", steps: cutRegex(patternO200k), ranks: 199998},
	{names: "tekken", steps: cutRegex(patternTekken), ignore: true, bos: true},
	{names: "falcon default", steps: cutFalcon},
	{names: "deepseek-llm", bos: true, steps: append(splits(patternLines, patternDeepseekWords, patternDeepseekMarks, patternTail, patternCJK), digitsByteLevel...)},
	{names: "deepseek-coder", bos: true, steps: append(splits(patternLines, `\s?\p{L}+`, `\s?\p{P}+`, patternCJK), digitsByteLevel...)},
	{names: "deepseek-v3", bos: true, steps: cutRegex(`\p{N}{1,3}`, patternHan, patternDeepseekV3)},
}

var (
	byteLevelRegex = object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	byteLevelPlain = object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}

	cutByteLevel    = []object{byteLevelRegex}
	digitsByteLevel = []object{{"type": "Digits", "individual_digits": true}, byteLevelPlain}
	cutFalcon       = []object{{"type": "Punctuation", "behavior": "Contiguous"}, byteLevelRegex, {"type": "Digits", "individual_digits": false},
		splitRegex("[0-9][0-9][0-9]")}
)

func splitRegex(pattern string) object {
	return object{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false}
}

// splits cuts by one pattern after another.
func splits(patterns ...string) (steps []object) {
	for _, p := range patterns {
		steps = append(steps, splitRegex(p))
	}
	return steps
}

func cutRegex(patterns ...string) []object { return append(splits(patterns...), byteLevelPlain) }

func findPreset(name string) (preset, error) {
	var known []string
	for _, p := range presets {
		names := strings.Fields(p.names)
		if slices.Contains(names, name) {
			return p, nil
		}
		known = append(known, names...)
	}
	return preset{}, hint.Errorf("the tokenizer.json of the same model can be given instead",
		"tokenizer.ggml.pre: expected one of %s, found %q", strings.Join(known, ", "), name)
}

// apply writes the preset into a spec.
func (p *preset) apply(s *spec) {
	s.steps, s.ignore = p.steps, p.ignore
	if p.nfc {
		s.normalizer = object{"type": "NFC"}
	}
	s.decoder = byteLevelRegex
}

// Patterns of deepseek's tokenizers.
const (
	patternLines         = "[\r\n]"
	patternCJK           = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
	patternHan           = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
	patternDeepseekMarks = "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
	patternDeepseekV3    = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n" +
		"]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
	patternDeepseekWords = "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376" +
		"\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556" +
		"\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15" +
		"\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe" +
		"\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113" +
		"\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184" +
		"\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e" +
		"\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-" +
		"\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+"
)
