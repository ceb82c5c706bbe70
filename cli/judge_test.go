package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// talkers is a server of two models that speaks the chat protocol: talker answers, judge rates: the first question's second turn
// gets no rating, all other turns a number of their own beside what is none.
type talkers struct {
	*httptest.Server
	mu     sync.Mutex
	asked  map[string]int
	judged []string // what the judge was asked
	wrong  []string // requests that are not as the protocol wants them
}

func newTalkers(t *testing.T) *talkers {
	s := &talkers{asked: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *talkers) serve(w http.ResponseWriter, r *http.Request) {
	var b struct {
		Model    string
		Messages []struct{ Role, Content string }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil || r.URL.Path != "/v1/chat/completions" || len(b.Messages) == 0 || r.Header.Get("Authorization") != "Bearer sesame" {
		s.wrong = append(s.wrong, fmt.Sprint(r.URL.Path, " ", r.Header, " ", err))
		http.Error(w, "wrong", http.StatusBadRequest)
		return
	}
	s.asked[b.Model]++
	last := b.Messages[len(b.Messages)-1].Content
	text := fmt.Sprintf("answer %d to %s", (len(b.Messages)+1)/2, last)
	if b.Model == "judge" {
		s.judged = append(s.judged, last)
		text = "As source [1] says, this is good. Rating: [[" + map[bool]string{true: "6.5", false: "9"}[strings.Contains(last, "second user question")] + "]]"
		if strings.Contains(last, "answer 2 to Shorter.") {
			text = "I cannot rate this."
		}
	}
	fmt.Fprintf(w, `{"choices":[{"message":{"role":"assistant","content":%q}}],"usage":{"prompt_tokens":100,"completion_tokens":10}}`, text)
}

const mtBenchQuestions = `{"question_id": 1, "category": "writing", "turns": ["Write a poem.", "Shorter."]}
{"question_id": 2, "category": "math", "turns": ["What is 2 + 2?", "And times three?"]}
`

const mtBenchReferences = `{"question_id": 2, "choices": [{"index": 0, "turns": ["It is 4.", "It is 12."]}]}
`

// MT-Bench through the command: two turns, the judge's ratings parsed, counted where there is none, kept in the journal, written to
// samples and report, and the tokens of both models told.
func TestJudgedConversations(t *testing.T) {
	s, dir := newTalkers(t), t.TempDir()
	t.Setenv("TALKER_KEY", "sesame")
	for name, text := range map[string]string{"question.jsonl": mtBenchQuestions, "reference_answer_gpt-4.jsonl": mtBenchReferences} {
		path := filepath.Join(dir, "eval", "mt_bench", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	run := func(more ...string) (string, string) {
		t.Helper()
		code, out, errs := tune("", append([]string{"eval", "--endpoint", s.URL + "/v1", "--model", "talker", "--key-env", "TALKER_KEY", "--chat-completions", "--price", "1,10",
			"--judge", "judge", "--judge-endpoint", s.URL + "/v1", "--judge-key-env", "TALKER_KEY", "--judge-price", "10,100", "--tasks", "mt_bench", "--data", dir,
			"--journal", filepath.Join(dir, "answers.db"), "--output", filepath.Join(dir, "out"), "--html", filepath.Join(dir, "report.html")}, more...)...)
		if code != 0 || len(s.wrong) > 0 {
			t.Fatalf("exit code %d: %s%q", code, errs, s.wrong)
		}
		return out, errs
	}
	expect := func(what, text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), p) {
				t.Errorf("%s: no %q in\n%s", what, p, text)
			}
		}
	}
	out, errs := run("--gate", "mt_bench.rating_turn_1 >= 8")
	expect("output", out, "rating ↑ 7.7500", "rating_turn_1 ↑ 9.0000", "rating_turn_2 ↑ 6.5000", "unrated ↓ 0.2500", "passed mt_bench.rating_turn_1 >= 8")
	expect("messages", errs, "note: talker answered 4 requests with 0 retries: 400 tokens read, 40 written, cost 0.0008", "note: judge answered 4 requests with 0 retries: 400 tokens read, 40 written, cost 0.0080")
	expect("the judge", strings.Join(s.judged, "\n"), "### Reference answer: It is 12.", "answer 1 to Write a poem.", "[The Start of Reference Answer] It is 4.")
	for _, name := range []string{"out/results.json", "out/samples_mt_bench.jsonl", "report.html"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		expect(name, string(text), map[string]string{"out/results.json": `"rating,none": 7.75`, "out/samples_mt_bench.jsonl": "Rating: [[6.5]]", "report.html": "rating_turn_2"}[name])
	}
	again, errs := run("--gate", "mt_bench.rating_turn_1 >= 8")
	if again != out || s.asked["talker"] != 4 || s.asked["judge"] != 4 {
		t.Errorf("a second run asked again, %v, or printed\n%s", s.asked, again)
	}
	expect("messages", errs, "8 from the journal")
}
