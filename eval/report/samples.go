package report

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// Sample is one document under one filter: a line of lm-eval's samples file. On disk the metric values stand beside the
// other keys, and the arguments are {"gen_args_0": {"arg_0": context, "arg_1": continuation or settings}, ...}.
type Sample struct {
	DocID      int
	Doc        json.RawMessage // the row
	Target     string
	Arguments  [][]any // per request: context and continuation, or context and generation settings
	Resps      any     // per request and repeat: ["log-probability", "True"/"False"], or a text; all as texts
	Filtered   any     // the same after the filter
	Filter     string
	Metrics    []string
	DocHash    string // SHA-256, hex
	PromptHash string // of the first request's context
	TargetHash string
	Values     map[string]any // by metric: a float64, or a list where the aggregation needs more than one number
	Cluster    string         // ours: documents with the same text here share a passage and are not independent
}

type sampleHead struct {
	DocID    int             `json:"doc_id"`
	Doc      json.RawMessage `json:"doc"`
	Target   any             `json:"target"`
	Resps    any             `json:"resps"`
	Filtered any             `json:"filtered_resps"`
	Filter   string          `json:"filter"`
	Metrics  []string        `json:"metrics"`
	Doc256   string          `json:"doc_hash"`
	Prompt   string          `json:"prompt_hash"`
	Goal     string          `json:"target_hash"`
	Cluster  string          `json:"cluster"`
}

// Number is the value of a metric when it is a single number.
func (s *Sample) Number(metric string) (float64, bool) {
	switch x := s.Values[metric].(type) {
	case float64:
		return x, true
	case int:
		return float64(x), true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case string: // a number that JSON has no word for
		v, err := parseNumber(json.RawMessage(`"` + x + `"`))
		return v, err == nil
	}
	return 0, false
}

// MarshalJSON writes the line of lm-eval.
func (s Sample) MarshalJSON() ([]byte, error) {
	args := newObject()
	for i, list := range s.Arguments {
		one := newObject()
		for k, a := range list {
			one.add(fmt.Sprintf("arg_%d", k), a)
		}
		text, err := one.close()
		if err != nil {
			return nil, err
		}
		args.add(fmt.Sprintf("gen_args_%d", i), json.RawMessage(text))
	}
	arguments, err := args.close()
	if err != nil {
		return nil, err
	}
	o := newObject()
	o.add("doc_id", s.DocID)
	o.add("doc", s.Doc)
	o.add("target", s.Target)
	o.add("arguments", json.RawMessage(arguments))
	o.add("resps", s.Resps)
	o.add("filtered_resps", s.Filtered)
	o.add("filter", s.Filter)
	o.add("metrics", s.Metrics)
	o.add("doc_hash", s.DocHash)
	o.add("prompt_hash", s.PromptHash)
	o.add("target_hash", s.TargetHash)
	if s.Cluster != "" {
		o.add("cluster", s.Cluster)
	}
	for _, m := range s.Metrics {
		v := s.Values[m]
		if x, ok := v.(float64); ok {
			v = number(x)
		}
		o.add(m, v)
	}
	return o.close()
}

// UnmarshalJSON reads a line of lm-eval.
func (s *Sample) UnmarshalJSON(b []byte) error {
	var h sampleHead
	if err := json.Unmarshal(b, &h); err != nil {
		return err
	}
	*s = Sample{DocID: h.DocID, Doc: h.Doc, Target: fmt.Sprint(h.Target), Resps: h.Resps, Filtered: h.Filtered, Filter: h.Filter, Metrics: h.Metrics,
		DocHash: h.Doc256, PromptHash: h.Prompt, TargetHash: h.Goal, Cluster: h.Cluster, Values: map[string]any{}}
	return eachMember(b, func(key string, raw json.RawMessage) error {
		if key == "arguments" {
			return s.readArguments(raw)
		}
		if !slices.Contains(s.Metrics, key) {
			return nil
		}
		var v any
		err := json.Unmarshal(raw, &v)
		s.Values[key] = v
		return err
	})
}

// readArguments takes the object of the file, or the list that older versions wrote.
func (s *Sample) readArguments(raw json.RawMessage) error {
	if json.Unmarshal(raw, &s.Arguments) == nil {
		return nil
	}
	return eachMember(raw, func(_ string, one json.RawMessage) error {
		var list []any
		err := eachMember(one, func(_ string, arg json.RawMessage) error {
			var v any
			err := json.Unmarshal(arg, &v)
			list = append(list, v)
			return err
		})
		s.Arguments = append(s.Arguments, list)
		return err
	})
}

// hashSamples is lm-eval's task hash: SHA-256 over the hashes of document, prompt and target of all samples.
func hashSamples(list []Sample) string {
	h := sha256.New()
	for _, s := range list {
		io.WriteString(h, s.DocHash+s.PromptHash+s.TargetHash)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// maxLine bounds a line of a samples file in bytes: a document and its prompts.
const maxLine = 1 << 28

func readSamples(name string) ([]Sample, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("samples: %w", err)
	}
	defer f.Close()
	var list []Sample
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var s Sample
		if err := json.Unmarshal(strictJSON(lines.Bytes()), &s); err != nil {
			return nil, fmt.Errorf("%s:%d: expected a sample of lm-eval: %w", name, n, err)
		}
		list = append(list, s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// NewRun is a run that was not written: results and samples as they would be read again.
func NewRun(path string, r *Results, samples map[string][]Sample) (*Run, error) {
	run := &Run{Path: path, Results: r, Samples: map[string][]Sample{}}
	for task, list := range samples {
		again := make([]Sample, len(list))
		for i := range list {
			text, err := json.Marshal(list[i])
			if err == nil {
				err = json.Unmarshal(text, &again[i])
			}
			if err != nil {
				return nil, fmt.Errorf("samples of %s, document %d: %w", task, list[i].DocID, err)
			}
		}
		run.Samples[task] = again
	}
	return run, nil
}

// object writes a JSON object in a given order.
type object struct {
	b   bytes.Buffer
	e   *json.Encoder
	err error
}

func newObject() *object {
	o := &object{}
	o.e = json.NewEncoder(&o.b)
	o.e.SetEscapeHTML(false)
	o.b.WriteByte('{')
	return o
}

func (o *object) add(key string, value any) {
	if o.b.Len() > 1 {
		o.b.WriteByte(',')
	}
	o.encode(key)
	o.b.WriteByte(':')
	o.encode(value)
}

func (o *object) encode(v any) {
	if err := o.e.Encode(v); err != nil && o.err == nil {
		o.err = err
	}
	o.b.Truncate(len(bytes.TrimRight(o.b.Bytes(), "\n")))
}

func (o *object) close() ([]byte, error) {
	o.b.WriteByte('}')
	return o.b.Bytes(), o.err
}

// eachMember visits the members of a JSON object in their order.
func eachMember(b []byte, visit func(key string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(err, fmt.Errorf("expected an object, found %.20s", b))
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := visit(key.(string), value); err != nil {
			return err
		}
	}
	return nil
}

// number is what JSON can say of a float: the words of Python's json module are quoted.
func number(x float64) any {
	switch {
	case math.IsNaN(x):
		return "NaN"
	case math.IsInf(x, 1):
		return "Infinity"
	case math.IsInf(x, -1):
		return "-Infinity"
	}
	return x
}

// parseNumber reads what number writes, null and "N/A".
func parseNumber(raw json.RawMessage) (float64, error) {
	switch s := strings.Trim(string(raw), `" `); s {
	case "NaN", "N/A", "null", "":
		return math.NaN(), nil
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	case "true":
		return 1, nil
	case "false":
		return 0, nil
	}
	var x float64
	if err := json.Unmarshal(raw, &x); err != nil {
		return 0, fmt.Errorf("expected a number, found %.40s", raw)
	}
	return x, nil
}

// strictJSON quotes the bare NaN, Infinity and -Infinity that Python's json module writes and JSON does not know.
func strictJSON(b []byte) []byte {
	if !bytes.Contains(b, []byte("NaN")) && !bytes.Contains(b, []byte("Infinity")) {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	text := false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case text && c == '\\' && i+1 < len(b):
			out = append(out, c)
			i++
			c = b[i]
		case c == '"':
			text = !text
		case !text && (c == 'N' || c == 'I' || c == '-'):
			if word := bareWord(b[i:]); word != "" {
				out = append(append(append(out, '"'), word...), '"')
				i += len(word) - 1
				continue
			}
		}
		out = append(out, c)
	}
	return out
}

func bareWord(b []byte) string {
	for _, w := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(b, []byte(w)) {
			return w
		}
	}
	return ""
}
