package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tune/internal/hint"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// fake speaks the hub's API: lists of files, HEAD and GET of files, large files on another host.
type fake struct {
	t        *testing.T
	files    map[string]string
	large    map[string]bool // given by the other host
	gated    bool
	cut      int  // bytes after which the other host breaks a connection
	spoiled  bool // the other host gives other bytes
	store    *httptest.Server
	hub      *httptest.Server
	requests []string
}

func newFake(t *testing.T, files map[string]string, large ...string) (*fake, *Client) {
	f := &fake{t: t, files: files, large: map[string]bool{}}
	for _, l := range large {
		f.large[l] = true
	}
	f.hub, f.store = httptest.NewServer(http.HandlerFunc(f.serve)), httptest.NewServer(http.HandlerFunc(f.serveStore))
	t.Cleanup(f.hub.Close)
	t.Cleanup(f.store.Close)
	return f, f.client(t, t.TempDir())
}

func (f *fake) client(t *testing.T, cache string) *Client {
	for name, value := range map[string]string{"HF_ENDPOINT": f.hub.URL, "HF_HUB_CACHE": cache, "HF_TOKEN": "secret", "HF_HUB_OFFLINE": "", "HF_TOKEN_PATH": ""} {
		t.Setenv(name, value)
	}
	c, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	c.retry.Wait = func(_ context.Context, n int) error {
		if n > 4 {
			return errors.New("five tries failed")
		}
		return nil
	}
	return c
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Error-Code", code)
	w.WriteHeader(status)
}

func gitHash(text string) string {
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text)))
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.requests = append(f.requests, r.Method+" "+r.URL.Path+" "+r.Header.Get("Range"))
	token := r.Header.Get("Authorization") == "Bearer secret"
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api"), "/datasets")
	repo, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/models"), "/org/"), "/")
	switch {
	case repo != "name":
		fail(w, http.StatusUnauthorized, "RepoNotFound")
	case strings.HasPrefix(r.URL.Path, "/api/"):
		rev := strings.TrimPrefix(rest, "revision/")
		if rev != "main" && rev != commit && rev != "refs/convert/parquet" {
			fail(w, http.StatusNotFound, "RevisionNotFound")
			return
		}
		var list []string
		for name := range f.files {
			list = append(list, fmt.Sprintf("{\"rfilename\":%q}", name))
		}
		fmt.Fprintf(w, "{\"sha\":%q,\"siblings\":[%s]}", commit, strings.Join(list, ","))
	case f.gated && !token:
		fail(w, http.StatusUnauthorized, "GatedRepo")
	default:
		_, name, _ := strings.Cut(strings.TrimPrefix(rest, "resolve/"), "/") // behind the commit, or main
		text, ok := f.files[name]
		if !ok {
			fail(w, http.StatusNotFound, "EntryNotFound")
			return
		}
		w.Header().Set("X-Repo-Commit", commit)
		if f.large[name] {
			w.Header().Set("X-Linked-Etag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text))))
			w.Header().Set("X-Linked-Size", fmt.Sprint(len(text)))
			http.Redirect(w, r, f.store.URL+"/"+name, http.StatusFound)
			return
		}
		w.Header().Set("ETag", `"`+gitHash(text)+`"`)
		http.ServeContent(w, r, name, time.Time{}, strings.NewReader(text))
	}
}

func (f *fake) serveStore(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		f.t.Error("the token went to another host")
	}
	text := f.files[strings.TrimPrefix(r.URL.Path, "/")]
	if f.spoiled {
		text = strings.ToUpper(text)
	}
	f.requests = append(f.requests, "store "+r.Header.Get("Range"))
	w.Header().Set("ETag", `"of the store"`)
	if f.cut > 0 {
		w = &cutter{w, f.cut}
	}
	http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader([]byte(text)))
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

var big = strings.Repeat("0123456789abcde\n", 20000)

func isData(name string) bool {
	return strings.HasSuffix(name, ".jsonl") || strings.HasSuffix(name, ".parquet")
}

// TestLayout fetches a small and a large file over a connection that breaks, and looks at the cache.
func TestLayout(t *testing.T) {
	f, c := newFake(t, map[string]string{"a/small.jsonl": "{}\n", "big.jsonl": big}, "big.jsonl")
	f.cut = 100_000
	s, err := c.Open(t.Context(), Repo{"datasets", "org/name", "main"})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range f.files {
		p, err := s.Fetch(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(p); string(got) != text {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(text))
		}
	}
	dir := filepath.Join(c.Cache, "datasets--org--name")
	ref, _ := os.ReadFile(filepath.Join(dir, "refs", "main"))
	if string(ref) != commit {
		t.Errorf("refs/main holds %q", ref)
	}
	for link, blob := range map[string]string{"a/small.jsonl": "../../../blobs/" + gitHash("{}\n"), "big.jsonl": "../../blobs/" + fmt.Sprintf("%x", sha256.Sum256([]byte(big)))} {
		got, err := os.Readlink(filepath.Join(dir, "snapshots", commit, filepath.FromSlash(link)))
		if err != nil || filepath.ToSlash(got) != blob {
			t.Errorf("%s links to %q, want %q (%v)", link, got, blob, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "blobs", "*.incomplete")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	var store []string
	for _, r := range f.requests {
		if strings.HasPrefix(r, "store") {
			store = append(store, r)
		}
	}
	if len(store) < 4 || store[0] != "store " || !strings.HasPrefix(store[1], "store bytes=") {
		t.Errorf("a connection that breaks is taken up again by %q", store)
	}
	before := len(f.requests)
	if _, err := s.Fetch(t.Context(), "big.jsonl"); err != nil || len(f.requests) != before {
		t.Errorf("a file that is there was asked for again: %v, %v", f.requests[before:], err)
	}
}

// TestResumedByAnotherRun finds half a file that a run left behind.
func TestResumedByAnotherRun(t *testing.T) {
	f, c := newFake(t, map[string]string{"big.jsonl": big}, "big.jsonl")
	blob := filepath.Join(c.Cache, "datasets--org--name", "blobs", fmt.Sprintf("%x", sha256.Sum256([]byte(big))))
	os.MkdirAll(filepath.Dir(blob), 0o755)
	os.WriteFile(blob+".incomplete", []byte(big[:200_000]), 0o644)
	paths, err := c.Fetch(t.Context(), Address{Repo: Repo{"datasets", "org/name", "main"}, File: "*.jsonl"})
	if err != nil || f.requests[len(f.requests)-1] != "store bytes=200000-" {
		t.Fatalf("%v, %q", err, f.requests)
	}
	if got, _ := os.ReadFile(paths[0]); string(got) != big {
		t.Error("other bytes")
	}
}

// TestFullDisk writes to the device that is always full: one error that says so, no new tries, and nothing is left.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system")
	}
	f, c := newFake(t, map[string]string{"big.jsonl": big}, "big.jsonl")
	blobs := filepath.Join(c.Cache, "datasets--org--name", "blobs")
	os.MkdirAll(blobs, 0o755)
	if err := os.Symlink("/dev/full", filepath.Join(blobs, fmt.Sprintf("%x.incomplete", sha256.Sum256([]byte(big))))); err != nil {
		t.Fatal(err)
	}
	_, err := c.Fetch(t.Context(), Address{Repo: Repo{"datasets", "org/name", "main"}, File: "*.jsonl"})
	if err == nil || !strings.Contains(err.Error(), "big.jsonl: the disk of the cache is full") || strings.Count(err.Error(), "no space left") != 1 {
		t.Errorf("got %v", err)
	}
	if hints := hint.Of(err); !strings.Contains(hints, "HF_HUB_CACHE") {
		t.Errorf("hint %q", hints)
	}
	gets := 0
	for _, r := range f.requests {
		if strings.HasPrefix(r, "store") {
			gets++
		}
	}
	left, _ := os.ReadDir(blobs)
	named, _ := filepath.Glob(filepath.Join(c.Cache, "datasets--org--name", "snapshots", "*", "*"))
	if gets != 1 || len(left) != 0 || len(named) != 0 {
		t.Errorf("%d downloads, left %v and %v", gets, left, named)
	}
}

func TestOffline(t *testing.T) {
	_, c := newFake(t, nil)
	// as the Python library leaves them
	dir := filepath.Join(c.Cache, "datasets--org--name")
	for name, text := range map[string]string{"refs/main": commit, "blobs/abc": "{}\n"} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		os.MkdirAll(filepath.Dir(p), 0o755)
		os.WriteFile(p, []byte(text), 0o644)
	}
	snapshot := filepath.Join(dir, "snapshots", commit, "data")
	os.MkdirAll(snapshot, 0o755)
	os.Symlink("../../../blobs/abc", filepath.Join(snapshot, "train.jsonl"))
	t.Setenv("HF_HUB_OFFLINE", "1")
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1")
	o, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := Parse("hf://datasets/org/name")
	paths, err := o.Dataset(t.Context(), a, "train", isData)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%v, %v", paths, err)
	}
	if got, _ := os.ReadFile(paths[0]); string(got) != "{}\n" {
		t.Errorf("got %q", got)
	}
	a.Name = "org/other"
	if _, err := o.Dataset(t.Context(), a, "train", isData); err == nil || !strings.Contains(err.Error(), "hf://datasets/org/other: offline, and not in the cache") {
		t.Errorf("got %v", err)
	}
}

func TestErrors(t *testing.T) {
	f, c := newFake(t, map[string]string{"a.jsonl": "{}\n", "big.jsonl": big}, "big.jsonl")
	a, _ := Parse("hf://datasets/org/name/a.jsonl")
	ask := func(change func(*Address, *Client)) error {
		b, d := a, f.client(t, c.Cache)
		change(&b, d)
		_, err := d.Fetch(t.Context(), b)
		return err
	}
	for name, x := range map[string]struct {
		change     func(*Address, *Client)
		want, hint string
	}{
		"no such repository": {func(a *Address, _ *Client) { a.Name = "org/other" }, "hf://datasets/org/other: the hub has no such data set", "HF_TOKEN"},
		"no such revision":   {func(a *Address, _ *Client) { a.Revision = "v9" }, "hf://datasets/org/name@v9: the data set has no revision v9", ""},
		"no such file":       {func(a *Address, _ *Client) { a.File = "b.jsonl" }, "expected files that match b.jsonl, found a.jsonl, big.jsonl", ""},
		"gated":              {func(_ *Address, c *Client) { f.gated, c.Token = true, "" }, "hf://datasets/org/name/a.jsonl: the data set is gated", "/datasets/org/name and set HF_TOKEN"},
	} {
		err := ask(x.change)
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(hint.Of(err), x.hint) {
			t.Errorf("%s: %v (%s)", name, err, hint.Of(err))
		}
	}
	f.gated = false
	f.spoiled = true
	err := ask(func(a *Address, _ *Client) { a.File = "big.jsonl" })
	if err == nil || !strings.Contains(err.Error(), "what came is damaged: expected hash ") {
		t.Errorf("damaged: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Cache, "*", "blobs", "*.incomplete")); len(left) > 0 {
		t.Errorf("damaged bytes were kept: %v", left)
	}
	f.store.Close()
	if err := ask(func(a *Address, _ *Client) { a.File = "big.jsonl" }); err == nil || !strings.Contains(err.Error(), "five tries failed") {
		t.Errorf("no connection: %v", err)
	}
	f.files["../x.jsonl"] = "x"
	if err := ask(func(*Address, *Client) {}); err == nil || !strings.Contains(err.Error(), "expected paths within the repository") {
		t.Errorf("a path that leads out: %v", err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"hf://datasets/org/name":                         "{datasets org/name main}   ",
		"hf://datasets/org/name:en":                      "{datasets org/name main}  en ",
		"hf://datasets/org/name@v1.2:en:test":            "{datasets org/name v1.2}  en test",
		"hf://datasets/org/name@refs/convert/parquet:en": "{datasets org/name refs/convert/parquet}  en ",
		"hf://datasets/org/name/data/train-*.parquet":    "{datasets org/name main} data/train-*.parquet  ",
		"hf://datasets/org/name@" + commit + "/x.jsonl":  "{datasets org/name " + commit + "} x.jsonl  ",
		"hf://org/name":                                  "{models org/name main}   ",
		"hf://org/na-me.1@main/x-Q4_K_M.gguf":            "{models org/na-me.1 main} x-Q4_K_M.gguf  ",
		"hf://org":                                       "",
		"hf://org/name:en":                               "",
		"hf://datasets/org/name/../x":                    "",
		"hf://datasets/org/name/x:en":                    "",
		"hf://datasets/../name":                          "",
	} {
		a, err := Parse(text)
		got := fmt.Sprintf("%s %s %s %s", strings.ReplaceAll(fmt.Sprintf("%v", struct{ K, N, R string }{a.Kind, a.Name, a.Revision}), "\n", ""), a.File, a.Config, a.Split)
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestDatasetFiles(t *testing.T) {
	card := "---\nlicense: mit\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: [\"en/part-*.jsonl\"]\n  - split: validation\n    path: en/held.jsonl\n" +
		"- config_name: de\n  data_files: \"de/**\"\n---\n# A data set\n"
	plain := map[string]string{"README.md": "# no head\n", "data/train-00000-of-00002.parquet": "1", "data/train-00001-of-00002.parquet": "2", "data/test-00000-of-00001.parquet": "3", "script.py": ""}
	carded := map[string]string{"README.md": card, "en/part-1.jsonl": "1", "en/part-2.jsonl": "2", "en/held.jsonl": "3", "de/x/4.jsonl": "4"}
	folders := map[string]string{"en/train/0000.parquet": "1", "en/validation/0000.parquet": "2", "de/train/0000.parquet": "3"}
	for _, x := range []struct {
		files                map[string]string
		address, split, want string
	}{
		{plain, "", "train", "1 2"},
		{plain, ":test", "train", "3"},
		{plain, "", "valid", "expected a split valid, found test, train"},
		{carded, ":en", "train", "1 2"},
		{carded, ":en", "valid", "3"},
		{carded, ":en:validation", "train", "3"},
		{carded, ":de", "train", "4"},
		{carded, "", "train", "expected the name of a configuration: en, de"},
		{carded, ":fr:train", "train", `expected a configuration of en, de, found "fr"`},
		{folders, "@refs/convert/parquet:en", "train", "1"},
		{folders, "@refs/convert/parquet:en:validation", "train", "2"},
		{folders, ":fr:train", "train", "expected a configuration fr, found none"},
		{map[string]string{"load.py": ""}, "", "train", "expected data files, found load.py"},
		{map[string]string{"README.md": "---\nconfigs: [\n---\n", "a.jsonl": ""}, "", "train", "README.md: configs: "},
	} {
		_, c := newFake(t, x.files)
		a, err := Parse("hf://datasets/org/name" + x.address)
		if err != nil {
			t.Fatal(err)
		}
		paths, err := c.Dataset(t.Context(), a, x.split, isData)
		if err != nil {
			if !strings.Contains(err.Error(), x.want) || strings.Trim(x.want, "0123456789 ") == "" {
				t.Errorf("%s %s: %v, want %s", x.address, x.split, err, x.want)
			}
			continue
		}
		var got []string
		for _, p := range paths {
			b, _ := os.ReadFile(p)
			got = append(got, string(b))
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%s %s: %v, want %s", x.address, x.split, got, x.want)
		}
	}
}

func TestModel(t *testing.T) {
	_, c := newFake(t, map[string]string{"config.json": "{}", "model.safetensors": big, "pytorch_model.bin": "x", "tokenizer.json": "{}", "onnx/model.onnx": "x", "x.gguf": "g"}, "model.safetensors")
	a, _ := Parse("hf://org/name")
	dir, err := c.Model(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != "config.json model.safetensors tokenizer.json" {
		t.Errorf("fetched %v", got)
	}
	a, _ = Parse("hf://org/name/x.gguf")
	if p, err := c.Model(t.Context(), a); err != nil || filepath.Base(p) != "x.gguf" {
		t.Errorf("%s, %v", p, err)
	}
}
