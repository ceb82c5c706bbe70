package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tune/eval/ask"
	"tune/internal/hint"
)

// fake counts what it is asked and fails before the answer of that number; 0: never.
type fake struct {
	id    string
	asked int
	fail  int
}

func (f *fake) Name() string                               { return "fake" }
func (f *fake) Identity() string                           { return f.id }
func (f *fake) Context() int                               { return 0 }
func (f *fake) Render([]ask.Message, bool) (string, error) { return "", nil }

var errKilled = errors.New("killed")

func (f *fake) Answer(_ context.Context, rs []ask.Request, done func(int, ask.Answer) error) error {
	for i := len(rs) - 1; i >= 0; i-- {
		if f.asked++; f.asked == f.fail {
			return errKilled
		}
		if err := done(i, ask.Answer{LogProb: -1.0 / float64(3+len(rs[i].Context)), Text: rs[i].Context, Tokens: f.asked}); err != nil {
			return err
		}
	}
	return nil
}

func open(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func run(t *testing.T, j *Journal, f *fake, rs []ask.Request) (as []ask.Answer, err error) {
	t.Helper()
	as = make([]ask.Answer, len(rs))
	n := 0
	err = j.Wrap(f).Answer(context.Background(), rs, func(i int, a ask.Answer) error { as[i] = a; n++; return nil })
	if err == nil && n != len(rs) {
		t.Errorf("%d answers to %d requests", n, len(rs))
	}
	return as, err
}

var requests = []ask.Request{{Context: "a"}, {Context: "bb"}, {Context: "a"}, {Context: "\xff"}, {Context: "\xfe"}}

// A run that is killed goes on, a second one asks nothing, and answers are the same to the last bit.
func TestResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "answers 100%.sqlite")
	f := &fake{id: "m", fail: 3}
	j := open(t, path)
	if _, err := run(t, j, f, requests); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	// The journal is not closed, as when the process dies.
	f.fail = 0
	if _, err := run(t, open(t, path), f, requests); err != nil || f.asked != 5 { // 2 before, the one that failed, 2 left
		t.Errorf("%d asked, %v", f.asked, err)
	}
	fresh, err := run(t, open(t, filepath.Join(t.TempDir(), "other")), &fake{id: "m"}, requests)
	if err != nil {
		t.Fatal(err)
	}
	first, err := run(t, open(t, path), &fake{id: "m", fail: 1}, requests)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range first {
		if !a.Cached || a.Text != fresh[i].Text || a.LogProb != -1.0/float64(3+len(requests[i].Context)) {
			t.Errorf("answer %d: %+v", i, a)
		}
	}
	other := &fake{id: "n"}
	if _, err := run(t, open(t, path), other, requests); err != nil || other.asked != 4 {
		t.Errorf("another model: %d asked, %v", other.asked, err)
	}
	if _, err := run(t, open(t, path), &fake{}, requests); err == nil || !strings.Contains(err.Error(), "no identity") {
		t.Error(err)
	}
}

// A change of any part of a request changes its key: a field that is added to ask.Request and forgotten here fails.
func TestKeys(t *testing.T) {
	full := func() *ask.Request {
		return &ask.Request{Generation: ask.Generation{Until: []string{"x"}}, Chat: []ask.Message{{Role: "user", Content: "c"}}}
	}
	seen := map[[32]byte]string{key("m", full()): "nothing", key("n", full()): "identity"}
	var vary func(path string, at func(r *ask.Request) reflect.Value)
	vary = func(path string, at func(r *ask.Request) reflect.Value) {
		r := full()
		switch v := at(r); v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				vary(path+"."+v.Type().Field(i).Name, func(r *ask.Request) reflect.Value { return at(r).Field(i) })
			}
			return
		case reflect.Slice:
			vary(path+"[0]", func(r *ask.Request) reflect.Value { return at(r).Index(0) })
			v.SetLen(0)
		case reflect.String:
			v.SetString(v.String() + "y")
		case reflect.Float64:
			v.SetFloat(0.5)
		case reflect.Int:
			v.SetInt(7)
		case reflect.Uint64, reflect.Uint8:
			v.SetUint(2)
		default:
			t.Fatalf("%s: a kind of field this test does not know", path)
		}
		k := key("m", r)
		if seen[k] != "" {
			t.Errorf("%s has the key of %s", path, seen[k])
		}
		seen[k] = path
	}
	vary("request", func(r *ask.Request) reflect.Value { return reflect.ValueOf(r).Elem() })
	if len(seen) < 14 {
		t.Errorf("only %d keys", len(seen))
	}
}

// Damage is an error or an answer asked for again, never another number.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sqlite")
	j := open(t, path)
	if _, err := run(t, j, &fake{id: "m"}, requests); err != nil {
		t.Fatal(err)
	}
	if _, err := j.db.Exec(`UPDATE answers SET answer = replace(CAST(answer AS TEXT), '-0.2', '-0.9')`); err != nil {
		t.Fatal(err)
	}
	f := &fake{id: "m"}
	as, err := run(t, j, f, requests)
	if err != nil || f.asked == 0 || j.Damaged() != f.asked {
		t.Errorf("%d asked, %d damaged, %v", f.asked, j.Damaged(), err)
	}
	for i, a := range as {
		if a.LogProb != -1.0/float64(3+len(requests[i].Context)) {
			t.Errorf("answer %d: %+v", i, a)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{"text": []byte(strings.Repeat("this is no database. ", 100)), "half": whole[:len(whole)/2], "torn": append([]byte{}, whole...)}
	for i := 1024; i < len(bad["torn"]); i++ {
		bad["torn"][i] ^= 0x5a
	}
	for name, data := range bad {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(p); err == nil || !strings.Contains(err.Error(), "not a usable journal") || hint.Of(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A database of something else is left alone.
func TestForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sqlite")
	j := open(t, path)
	if _, err := j.db.Exec("PRAGMA user_version = 9"); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "version 1") {
		t.Error(err)
	}
}
