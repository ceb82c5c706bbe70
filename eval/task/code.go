package task

import (
	"context"
	"fmt"
	"strings"

	"tune/internal/chat"
	"tune/internal/pyre"
)

// passAtK runs every answer with the tests and estimates, for each k of the options, the probability that one of k answers
// passes: 1 - C(n-c, k)/C(n, k) for c of n that pass (Chen et al. 2021).
func passAtK(ctx context.Context, gold string, answers []string, o *chat.Dict, env Env) ([]Named, error) {
	ks, err := passKs(o)
	if err != nil {
		return nil, err
	}
	passed := 0
	for _, a := range answers {
		ok, err := env.Run(ctx, a+"\n"+gold)
		if err != nil {
			return nil, err
		}
		passed += b2i(ok)
	}
	var out []Named
	for _, k := range ks {
		if k > len(answers) {
			return nil, fmt.Errorf("pass@%d: expected %d answers, found %d: repeats is too small", k, k, len(answers))
		}
		out = append(out, Named{fmt.Sprintf("pass@%d", k), passEstimate(len(answers), passed, k)})
	}
	return out, nil
}

func passEstimate(n, c, k int) float64 {
	if n-c < k {
		return 1
	}
	miss := 1.0
	for i := n - c + 1; i <= n; i++ {
		miss *= 1 - float64(k)/float64(i)
	}
	return 1 - miss
}

func passKs(o *chat.Dict) ([]int, error) {
	v, _ := o.Get("k")
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []int
	for _, x := range list {
		k, ok := x.(int64)
		if !ok || k < 1 {
			return nil, fmt.Errorf("k: expected counts, found %s", chat.Repr(v))
		}
		out = append(out, int(k))
	}
	return out, nil
}

// passAt1 is pass@1 of the first answer, under the name of the function.
func passAt1(ctx context.Context, gold string, answers []string, _ *chat.Dict, env Env) ([]Named, error) {
	ok, err := env.Run(ctx, answers[0]+"\n"+gold)
	return []Named{{"pass_at_1", float64(b2i(ok))}}, err
}

// humanevalProgram is the beginning that the task gave, and the answer.
func humanevalProgram(answer string, d Doc) string {
	prompt, _ := d.Get("prompt")
	return chat.Str(prompt) + answer
}

func humanevalFenced(answer string, d Doc) string {
	answer, _, _ = strings.Cut(answer, "```")
	return humanevalProgram(answer, d)
}

var codeBlock = pyre.MustCompile("(?s)```(?:\\w+)?\\n?(.*?)\\n?```")

// mbppBlock is the code of an answer that goes on behind an opening fence; "" when it has no end.
func mbppBlock(answer string, _ Doc) string {
	for _, text := range []string{"```" + answer, strings.ReplaceAll("```"+answer, "```python", "```")} {
		if found, err := codeBlock.FindAll(text); err == nil && len(found) > 0 {
			return found[0][0]
		}
	}
	return ""
}

// mbppTest keeps the rows of the test split of a file that holds all splits.
func mbppTest(docs []Doc) ([]Doc, error) {
	var out []Doc
	for _, d := range docs {
		v, _ := d.Get("task_id")
		id, ok := v.(int64)
		if !ok {
			return nil, fmt.Errorf("column task_id: expected a number, found %s", kindOf(v))
		}
		if id > 10 && id <= 510 {
			out = append(out, d)
		}
	}
	return out, nil
}

// mbppSamples are the three examples that lm-eval shows.
func mbppSamples() []Doc {
	var out []Doc
	for _, s := range []struct {
		id         int64
		text, code string
		tests      []any
	}{
		{2, "Write a function to find the similar elements from the given two tuple lists.",
			"def similar_elements(test_tup1, test_tup2):\r\n  res = tuple(set(test_tup1) & set(test_tup2))\r\n  return (res) ",
			[]any{"assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)", "assert similar_elements((1, 2, 3, 4),(5, 4, 3, 7)) == (3, 4)",
				"assert similar_elements((11, 12, 14, 13),(17, 15, 14, 13)) == (13, 14)"}},
		{3, "Write a python function to identify non-prime numbers.",
			"import math\r\ndef is_not_prime(n):\r\n    result = False\r\n    for i in range(2,int(math.sqrt(n)) + 1):\r\n        if n % i == 0:\r\n            result = True\r\n    return result",
			[]any{"assert is_not_prime(2) == False", "assert is_not_prime(10) == True", "assert is_not_prime(35) == True"}},
		{4, "Write a function to find the largest integers from a given list of numbers using heap queue algorithm.",
			"import heapq as hq\r\ndef heap_queue_largest(nums,n):\r\n  largest_nums = hq.nlargest(n, nums)\r\n  return largest_nums",
			[]any{"assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],3)==[85, 75, 65] ", "assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],2)==[85, 75] ",
				"assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],5)==[85, 75, 65, 58, 35]"}},
	} {
		out = append(out, chat.NewDict(chat.Field{Name: "task_id", Value: s.id}, chat.Field{Name: "text", Value: s.text}, chat.Field{Name: "code", Value: s.code},
			chat.Field{Name: "test_list", Value: s.tests}, chat.Field{Name: "is_fewshot", Value: true}))
	}
	return out
}
