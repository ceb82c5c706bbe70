//go:build unix

package local

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"tune/eval/ask"
	"tune/internal/qtype"
	"tune/internal/testkit"
)

// cpu is the processor time of the process so far, in seconds: other jobs do not add to it.
func cpu() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// arcEasy is the requests of ../shared/evalgold/speed.json: 200 documents, 800 requests.
func arcEasy(t testing.TB) (rs []ask.Request) {
	type row struct {
		Question string `parquet:"question"`
		Choices  struct {
			Text []string `parquet:"text,list"`
		} `parquet:"choices"`
	}
	rows, err := parquet.ReadFile[row](testkit.Shared(t, "data/eval/arc_easy/test.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows[:200] {
		for _, c := range r.Choices.Text {
			rs = append(rs, ask.Request{Context: "Question: " + r.Question + "\nAnswer:", Continuation: " " + c})
		}
	}
	return rs
}

// BenchmarkScoring: requests a second of arc_easy, and of 5-shot MMLU together and each by itself, as with nothing shared. bf16 weights
// in float32, and the Q4_1 file at this machine's best.
func BenchmarkScoring(b *testing.B) {
	mmlu := readGolden(b, "mmlu_astronomy.5shot")
	shots, _, _ := mmlu.requests(20)
	easy := arcEasy(b)
	for _, m := range []struct {
		name string
		as   qtype.Type
		o    Options
	}{{"float32", qtype.BF16, Options{Exact: true}}, {"q4_1", qtype.Q4_1, Options{}}} {
		b.Run(m.name, func(b *testing.B) {
			x := smolLM2(b, m.as, m.o)
			run := func(what string, rs []ask.Request, groups int) {
				b.Run(what, func(b *testing.B) {
					for range b.N {
						began, used := time.Now(), cpu()
						for g := range groups {
							part := rs[g*len(rs)/groups : (g+1)*len(rs)/groups]
							if err := x.Answer(context.Background(), part, func(int, ask.Answer) error { return nil }); err != nil {
								b.Fatal(err)
							}
						}
						n := float64(len(rs))
						b.ReportMetric(n/time.Since(began).Seconds(), "requests/s")
						b.ReportMetric(2*n/(cpu()-used), "requests/s-of-2-free-cores")
					}
				})
			}
			run("arc_easy", easy, 1)
			run("mmlu-5shot", shots, 1)
			run("mmlu-5shot-unshared", shots[:8], 8)
		})
	}
}
