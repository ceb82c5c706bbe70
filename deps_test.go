// Package tune holds the test of the whole: which package may import which.
package tune

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lattice is policy, not a description: "a < b" means that b may import a, and what a may import. It is not to be
// edited to make a build pass; a new arrow is a decision, to be written down in docs/decisions.md. Tests are free.
const lattice = `
	NONE < internal/rng, internal/hint, internal/atomicfile, internal/pyre, internal/testkit;
	internal/rng, internal/hint, internal/atomicfile, internal/pyre < UTIL;

	# numbers and weights
	NONE < kernels;
	kernels < internal/qtype;
	internal/qtype, UTIL < internal/tensor;
	internal/tensor < internal/safetensors, internal/gguf;
	NONE < internal/grouped; # integers with scales: what solvers make and formats pack
	internal/tensor, internal/grouped < internal/packed; # files of GPTQ, AWQ, compressed-tensors, NF4

	# computing
	kernels, UTIL < internal/graph;
	internal/graph < internal/nn;

	# text
	UTIL < internal/tokenizer, internal/chat;

	# models
	internal/nn, internal/safetensors, internal/gguf, internal/packed, internal/tokenizer, internal/chat < internal/model;
	internal/model < lora;
	lora < internal/infer;

	# quantizing
	kernels, internal/grouped, internal/qtype, UTIL < quantize/solve; # GPTQ, AWQ: activations and weights to codes
	lora, quantize/solve < quantize;

	# the pipeline
	UTIL < data/licenses, internal/remote;
	internal/remote < internal/hub;
	internal/tokenizer, internal/chat, internal/hub, data/licenses < data;
	data, lora, internal/infer < train;

	# evaluating
	UTIL < eval/ask, eval/stats, eval/sandbox, eval/textscore, eval/overlap;
	eval/ask, internal/infer < eval/local;
	eval/ask < eval/endpoint, eval/journal;
	eval/ask, data, eval/sandbox, eval/textscore < eval/task;
	eval/task, eval/stats < eval/report;
	eval/report, eval/journal < eval;

	eval, train, quantize < recipes;
	train, quantize < bench;
	recipes, eval/local, eval/endpoint, eval/overlap, bench < cli;
	cli < cli/tune;
`

// allowed expands the lattice to the set of packages that each package may import.
func allowed(t *testing.T) map[string]map[string]bool {
	may := map[string]map[string]bool{"NONE": {}}
	for _, rule := range strings.Split(stripComments(lattice), ";") {
		left, right, ok := strings.Cut(rule, "<")
		if !ok {
			continue
		}
		below := map[string]bool{}
		for _, l := range names(left) {
			if may[l] == nil {
				t.Fatalf("lattice: %q is used before it is defined", l)
			}
			below[l] = true
			for x := range may[l] {
				below[x] = true
			}
		}
		for _, r := range names(right) {
			if may[r] != nil {
				t.Fatalf("lattice: %q is defined twice", r)
			}
			may[r] = below
		}
	}
	return may
}

func stripComments(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(line + "\n")
	}
	return b.String()
}

func names(s string) (r []string) {
	for _, n := range strings.Split(s, ",") {
		if n = strings.TrimSpace(n); n != "" {
			r = append(r, n)
		}
	}
	return r
}

func TestImportDirections(t *testing.T) {
	may := allowed(t)
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(p))
		if may[pkg] == nil {
			t.Errorf("%s: package %s has no place in the lattice of deps_test.go", p, pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			imp, _ := strconv.Unquote(i.Path.Value)
			if own, ok := strings.CutPrefix(imp, "tune/"); ok && !may[pkg][own] {
				t.Errorf("%s: %s may not import %s", p, pkg, own)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bound is the longest file that is read with pleasure; a longer one hides a seam.
const bound = 600

func TestFilesAreShort(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob("*/*/*.go")
	for _, p := range slices.Concat(files, more) {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		if n := countLines(t, p); n > bound {
			t.Errorf("%s has %d lines, the bound is %d: find the seam", p, n, bound)
		}
	}
}

func countLines(t *testing.T, path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}
