package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestReorder(t *testing.T) {
	app := &cli.App{Commands: []*cli.Command{
		{Name: "lora", Flags: []cli.Flag{&cli.StringFlag{Name: "recipe", Aliases: []string{"r"}}, &cli.BoolFlag{Name: "resume"}}},
		{Name: "tokenizer", Subcommands: []*cli.Command{{Name: "train", Flags: []cli.Flag{&cli.IntFlag{Name: "vocab"}}}}},
	}}
	for in, want := range map[string]string{
		"tune lora a=1 --recipe legal":              "tune lora --recipe legal a=1",
		"tune lora --recipe legal a=1 --resume b=2": "tune lora --recipe legal --resume a=1 b=2",
		"tune lora a=1 -r=x b=2":                    "tune lora -r=x a=1 b=2",
		"tune lora a=1 --resume b=2 -r x":           "tune lora --resume -r x a=1 b=2",
		"tune lora a=1 --resume -- --recipe":        "tune lora --resume -- a=1 --recipe",
		"tune tokenizer train f.txt --vocab 9 g":    "tune tokenizer train --vocab 9 f.txt g",
		"tune lora a=1 --recipe x --help":           "tune lora --help",
		"tune tokenizer train f.txt -h":             "tune tokenizer train -h",
		"tune nothing x --y":                        "tune --y nothing x",
	} {
		if got := strings.Join(reorder(app, strings.Fields(in)), " "); got != want {
			t.Errorf("reorder(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOverrides(t *testing.T) {
	pairs, others := overrides([]string{"lora.rank=8", "file.txt", "a/b=c", "base=x=y"})
	if !slices.Equal(pairs, []string{"lora.rank=8", "base=x=y"}) || !slices.Equal(others, []string{"file.txt", "a/b=c"}) {
		t.Errorf("pairs %q, others %q", pairs, others)
	}
}

// Every command says how it is used and what it is for.
func TestCommandsAreDocumented(t *testing.T) {
	var walk func(prefix string, cs []*cli.Command)
	walk = func(prefix string, cs []*cli.Command) {
		for _, c := range cs {
			name := prefix + " " + c.Name
			if c.Usage == "" || c.UsageText == "" && len(c.Subcommands) == 0 {
				t.Errorf("%s: Usage or UsageText is empty", name)
			}
			walk(name, c.Subcommands)
		}
	}
	walk("tune", commands(&env{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}))
}
