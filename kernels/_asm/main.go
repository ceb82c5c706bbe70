// Command asm writes the assembly of package kernels: register tiles, packs, dot products, decoders of stored types.
//
// Everything repetitive is a loop here; nothing in the output is edited by hand.
//
//	cd kernels/_asm && go run . && go test .     # write, then check that the files on disk are what this program writes
//
// The output names the hash of this program's sources, so that the tests of package kernels notice when it is stale.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

func main() {
	files, err := generate(".")
	if err == nil {
		for name, text := range files {
			if err = os.WriteFile(filepath.Join("..", name), []byte(text), 0o644); err != nil {
				break
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// generate returns the text of every output file by name; dir is where the sources of this program are.
func generate(dir string) (map[string]string, error) {
	hash, err := sourceHash(dir)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, f := range []struct {
		name string
		emit func(*asm)
	}{
		{"gemm", gemm},
		{"lanes", lanes},
		{"decode", decoders},
		{"blocks", moreDecoders},
		{"fused", fusedDots},
		{"scores", scores},
		{"rows", rows},
		{"double", doubles},
		{"int8", integers},
		{"words", words16},
		{"words512", words512},
	} {
		a := newAsm(hash)
		f.emit(a)
		out[f.name+"_asm_amd64.s"] = a.s.String()
		if out[f.name+"_asm_amd64.go"], err = a.goText(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return out, nil
}

// sourceHash is over the names and contents of the non-test sources in dir.
func sourceHash(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	sort.Strings(names)
	h := sha256.New()
	for _, n := range names {
		if strings.HasSuffix(n, "_test.go") {
			continue
		}
		text, err := os.ReadFile(n)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", filepath.Base(n), len(text), text)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:12]), nil
}
