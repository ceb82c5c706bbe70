package task

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"tune/internal/chat"
	"tune/internal/pyre"
)

// function is what a task file may name with !function; it is good for the places that its entries say.
type function struct {
	docs      func([]Doc) ([]Doc, error)                // process_docs
	field     func(Doc) (any, error)                    // doc_to_*
	samples   func() []Doc                              // fewshot_config: samples
	results   func(Doc, results) ([]Named, error)       // process_results
	filter    func(answer string, doc Doc) string       // a filter's filter_fn
	aggregate func(values []any) (float64, error)       // a metric's aggregation
	generate  func(c *Config, s Sources) ([]Doc, error) // custom_dataset
	// code is a metric that runs what the model wrote.
	code func(ctx context.Context, gold string, answers []string, options *chat.Dict, env Env) ([]Named, error)
}

// functionTable holds the functions by folder/module.name: those of lm-eval's own tasks under lm-eval's names, so that
// its task files work as they are, and some of our own. There is no way to name any other code.
var functionTable = map[string]function{
	"humaneval/utils.pass_at_k":                         {code: passAtK},
	"humaneval/utils.build_predictions":                 {filter: humanevalProgram},
	"humaneval/utils.build_predictions_instruct":        {filter: humanevalFenced},
	"mbpp/utils.pass_at_1":                              {code: passAt1},
	"mbpp/utils.build_predictions":                      {filter: mbppBlock},
	"mbpp/utils.list_fewshot_samples":                   {samples: mbppSamples},
	"mbpp/rows.test":                                    {docs: mbppTest},
	"ifeval/utils.process_results":                      {results: ifevalResults},
	"ifeval/utils.agg_inst_level_acc":                   {aggregate: instructionMean},
	"ifeval/instructions.documents":                     {generate: instructionDocuments},
	"needle/needle.documents":                           {generate: needleDocuments},
	"mt_bench/questions.documents":                      {generate: mtbenchQuestions},
	"own/prose.documents":                               {generate: proseDocuments},
	"mt_bench/questions.ratings":                        {results: mtbenchRatings},
	"legal/rows.unseen":                                 {docs: unseenRows},
	"legal/rows.options":                                {field: promptOptions},
	"legal/rows.labels":                                 {results: labelResults},
	"legal/rows.legalbench":                             {generate: legalbenchRows},
	"copa/utils.doc_to_text":                            {field: copaText(map[string]string{"cause": "because", "effect": "therefore"})},
	"copa/utils.doc_to_target":                          {field: copaTarget},
	"copa/utils.doc_to_choice":                          {field: copaChoice(" ")},
	"winogrande/preprocess_winogrande.doc_to_text":      {field: winograndeText},
	"winogrande/preprocess_winogrande.doc_to_target":    {field: winograndeTarget},
	"winogrande/preprocess_winogrande.doc_to_choice":    {field: winograndeChoice},
	"hellaswag/utils.process_docs":                      {docs: eachDoc(hellaswagDoc)},
	"wsc273/utils.process_doc":                          {docs: eachDoc(wscDoc)},
	"truthfulqa/utils.process_results_mc2":              {results: mc2Results},
	"truthfulqa/utils.process_docs_gen":                 {docs: eachDoc(truthfulDoc)},
	"truthfulqa/utils.process_results_gen":              {results: truthfulResults},
	"wikitext/preprocess_wikitext.wikitext_detokenizer": {field: wikitextText},
	"wikitext/preprocess_wikitext.process_results":      {results: wikitextResults},
	"wikitext/pages.pages":                              {docs: wikitextPages},
	"xcopa/utils.doc_to_choice":                         {field: copaChoice("")},
	"xcopa/utils.doc_to_text_et":                        {field: copaText(map[string]string{"cause": "sest", "effect": "seetõttu"})},
	"xcopa/utils.doc_to_text_ht":                        {field: copaText(map[string]string{"cause": "poukisa", "effect": "donk sa"})},
	"xcopa/utils.doc_to_text_it":                        {field: copaText(map[string]string{"cause": "perché", "effect": "quindi"})},
	"xcopa/utils.doc_to_text_id":                        {field: copaText(map[string]string{"cause": "karena", "effect": "maka"})},
	"xcopa/utils.doc_to_text_qu":                        {field: copaText(map[string]string{"cause": "imataq", "effect": "chaymi"})},
	"xcopa/utils.doc_to_text_sw":                        {field: copaText(map[string]string{"cause": "kwa sababu", "effect": "kwa hiyo"})},
	"xcopa/utils.doc_to_text_zh":                        {field: copaText(map[string]string{"cause": "因为", "effect": "所以"})},
	"xcopa/utils.doc_to_text_ta":                        {field: copaText(map[string]string{"cause": "காரணமாக", "effect": "எனவே"})},
	"xcopa/utils.doc_to_text_th":                        {field: copaText(map[string]string{"cause": "เพราะ", "effect": "ดังนั้น"})},
	"xcopa/utils.doc_to_text_tr":                        {field: copaText(map[string]string{"cause": "çünkü", "effect": "bu yüzden"})},
	"xcopa/utils.doc_to_text_vi":                        {field: copaText(map[string]string{"cause": "bởi vì", "effect": "vì vậy"})},
}

func (f Function) known() bool { _, ok := functionTable[f.String()]; return ok }

// FunctionNames lists the functions that task files may name, sorted.
func FunctionNames() []string { return keysOf(functionTable) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// text of a column.
func column(d Doc, name string) (string, error) {
	v, ok := d.Get(name)
	s, isText := v.(string)
	switch {
	case !ok:
		return "", fmt.Errorf("no column %s, only %s", name, strings.Join(d.Keys(), ", "))
	case !isText:
		return "", fmt.Errorf("column %s: expected a text, found %s", name, kindOf(v))
	}
	return s, nil
}

// columnTexts is a column that is a list of texts.
func columnTexts(d Doc, name string) ([]string, error) {
	v, _ := d.Get(name)
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("column %s: expected a list, found %s", name, kindOf(v))
	}
	out := make([]string, len(list))
	for i, x := range list {
		if out[i], ok = x.(string); !ok {
			return nil, fmt.Errorf("column %s: expected texts, found %s", name, kindOf(x))
		}
	}
	return out, nil
}

// merged is a copy of the first mapping with the keys of the others set.
func merged(all ...*chat.Dict) *chat.Dict {
	d := chat.NewDict()
	for _, from := range all {
		d.Update(from)
	}
	return d
}

// eachDoc changes documents one by one; the change gets a copy.
func eachDoc(change func(d Doc) error) func([]Doc) ([]Doc, error) {
	return func(docs []Doc) ([]Doc, error) {
		out := make([]Doc, len(docs))
		for i, d := range docs {
			out[i] = merged(d)
			if err := change(out[i]); err != nil {
				return nil, fmt.Errorf("row %d: %w", i, err)
			}
		}
		return out, nil
	}
}

// lowerFirst puts the first letter in lower case.
func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return chat.Lower(string(r)) + s[n:]
}

// copaText is the premise without its full stop, and a word that asks for the cause or the effect.
func copaText(connector map[string]string) func(Doc) (any, error) {
	return func(d Doc) (any, error) {
		premise, err := column(d, "premise")
		if err != nil {
			return nil, err
		}
		question, err := column(d, "question")
		if err != nil {
			return nil, err
		}
		word, ok := connector[question]
		if !ok {
			return nil, fmt.Errorf("column question: expected cause or effect, found %q", question)
		}
		premise = strings.TrimSpace(premise)
		_, n := utf8.DecodeLastRuneInString(premise)
		return premise[:len(premise)-n] + " " + word, nil
	}
}

func copaChoice(lead string) func(Doc) (any, error) {
	return func(d Doc) (any, error) {
		var out []any
		for _, name := range []string{"choice1", "choice2"} {
			s, err := column(d, name)
			if err != nil {
				return nil, err
			}
			out = append(out, lead+lowerFirst(s))
		}
		return out, nil
	}
}

func copaTarget(d Doc) (any, error) {
	list, err := copaChoice(" ")(d)
	if err != nil {
		return nil, err
	}
	label, _ := d.Get("label")
	return list.([]any)[b2i(label != int64(0))], nil
}

// winograndeText is the number of the right choice: the choices vary the context.
func winograndeText(d Doc) (any, error) {
	answer, err := column(d, "answer")
	if err != nil {
		return nil, err
	}
	switch answer {
	case "1":
		return int64(0), nil
	case "2":
		return int64(1), nil
	}
	return nil, fmt.Errorf("column answer: expected 1 or 2, found %q", answer)
}

func winograndeBlank(d Doc) (before, after string, err error) {
	s, err := column(d, "sentence")
	if err != nil {
		return "", "", err
	}
	before, after, ok := strings.Cut(s, "_")
	if !ok {
		return "", "", fmt.Errorf("column sentence: expected a blank _, found none in %q", s)
	}
	return before, after, nil
}

func winograndeTarget(d Doc) (any, error) {
	_, after, err := winograndeBlank(d)
	return strings.TrimSpace(after), err
}

func winograndeChoice(d Doc) (any, error) {
	before, _, err := winograndeBlank(d)
	if err != nil {
		return nil, err
	}
	var out []any
	for _, name := range []string{"option1", "option2"} {
		s, err := column(d, name)
		if err != nil {
			return nil, err
		}
		out = append(out, before+s)
	}
	return out, nil
}

var bracketed = pyre.MustCompile(`\[.*?\]`)

// hellaswagDoc writes the context and the endings without the marks of the texts they are from.
func hellaswagDoc(d Doc) error {
	plain := func(s string) (string, error) {
		s = strings.ReplaceAll(strings.TrimSpace(s), " [title]", ". ")
		s, err := bracketed.Sub("", s, 0)
		return strings.ReplaceAll(s, "  ", " "), err
	}
	var parts [3]string
	for i, name := range []string{"activity_label", "ctx_a", "ctx_b"} {
		var err error
		if parts[i], err = column(d, name); err != nil {
			return err
		}
	}
	query, err := plain(parts[0] + ": " + parts[1] + " " + chat.Capitalize(parts[2]))
	if err != nil {
		return err
	}
	endings, err := columnTexts(d, "endings")
	if err != nil {
		return err
	}
	choices := make([]any, len(endings))
	for i, e := range endings {
		if choices[i], err = plain(e); err != nil {
			return err
		}
	}
	d.Set("query", query)
	d.Set("choices", choices)
	label, _ := d.Get("label")
	gold, err := chat.Literal(chat.Str(label))
	d.Set("gold", gold)
	return err
}

var upperPronouns = []string{"A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their"}

// wscDoc makes the candidates of a Winograd schema fit into the place of the pronoun.
func wscDoc(d Doc) error {
	text, err := column(d, "text")
	if err != nil {
		return err
	}
	pronoun, err := column(d, "pronoun")
	if err != nil {
		return err
	}
	options, err := columnTexts(d, "options")
	if err != nil {
		return err
	}
	v, _ := d.Get("pronoun_loc")
	at, ok := v.(int64)
	text = strings.ReplaceAll(text, "  ", " ")
	runes := []rune(text)
	if !ok || at < 2 || at > int64(len(runes)) {
		return fmt.Errorf("column pronoun_loc: expected a place in the text, found %s", chat.Repr(v))
	}
	out := make([]any, len(options))
	for i, o := range options {
		if slices.Contains([]string{"my", "his", "her", "our", "their"}, strings.ToLower(pronoun)) {
			o += "'s"
		}
		first, _, _ := strings.Cut(strings.TrimSpace(o), " ")
		if runes[at-2] != '.' && slices.Contains(upperPronouns, first) {
			o = strings.ReplaceAll(o, first, strings.ToLower(first))
		}
		out[i] = o
	}
	d.Set("text", text)
	d.Set("options", out)
	return nil
}

// mc2Results is the share of probability that the true answers have.
func mc2Results(d Doc, r results) ([]Named, error) {
	v, _ := d.Get("mc2_targets")
	targets, ok := v.(Doc)
	if !ok {
		return nil, fmt.Errorf("column mc2_targets: expected choices and labels, found %s", kindOf(v))
	}
	l, _ := targets.Get("labels")
	labels, ok := l.([]any)
	if !ok || len(labels) != len(r.answers) {
		return nil, fmt.Errorf("column mc2_targets: expected %d labels, found %s", len(r.answers), chat.Repr(l))
	}
	probs := make([]float64, len(labels))
	for i, a := range r.answers {
		probs[i] = math.Exp(a.LogProb)
	}
	total := pairwiseSum(probs)
	var right []float64
	for i, p := range probs {
		if labels[i] == int64(1) {
			right = append(right, p/total)
		}
	}
	return []Named{{"acc", pairwiseSum(right)}}, nil
}

// pairwiseSum adds in the order that numpy adds contiguous numbers in: eight running sums for 8 to 128 numbers.
func pairwiseSum(x []float64) float64 {
	if len(x) < 8 {
		sum := 0.0
		for _, v := range x {
			sum += v
		}
		return sum
	}
	if len(x) > 128 {
		half := len(x) / 2
		half -= half % 8
		return pairwiseSum(x[:half]) + pairwiseSum(x[half:])
	}
	var r [8]float64
	copy(r[:], x)
	i := 8
	for ; i+8 <= len(x); i += 8 {
		for k := range r {
			r[k] += x[i+k]
		}
	}
	sum := ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
	for ; i < len(x); i++ {
		sum += x[i]
	}
	return sum
}
