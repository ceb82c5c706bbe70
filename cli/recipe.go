package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/recipes"
)

func recipeCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "recipe",
		Usage:     "list, show, check and copy recipes",
		UsageText: "tune recipe ls | show RECIPE | validate RECIPE ... | schema | cp RECIPE FILE",
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list the built-in recipes", UsageText: "tune recipe ls", Action: func(*cli.Context) error { return e.listRecipes() }},
			{Name: "show", Usage: "print a recipe, or with --resolved every key it leaves out as well", UsageText: "tune recipe show [--resolved] RECIPE [key=value ...]",
				Flags: []cli.Flag{&cli.BoolFlag{Name: "resolved", Usage: "print every key with its value"}}, Action: e.showRecipe},
			{Name: "validate", Usage: "check recipes", UsageText: "tune recipe validate RECIPE ...", Action: e.validateRecipes},
			{Name: "schema", Usage: "print the JSON schema of recipes, for editors", UsageText: "tune recipe schema", Action: func(*cli.Context) error {
				text, err := recipes.Schema()
				if err == nil {
					_, err = e.stdout.Write(text)
				}
				return err
			}},
			{Name: "cp", Usage: "copy a recipe to a file of your own", UsageText: "tune recipe cp RECIPE FILE", Action: copyRecipe},
		},
	}
}

func (e *env) listRecipes() error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, name := range recipes.Names() {
		text, err := recipes.Text(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\n", name, recipes.Summary(text))
	}
	return w.Flush()
}

func (e *env) showRecipe(c *cli.Context) error {
	pairs, names := overrides(c.Args().Slice())
	if len(names) != 1 {
		return usagef(c, "expected one recipe, found %d", len(names))
	}
	if !c.Bool("resolved") && len(pairs) == 0 {
		text, err := recipes.Text(names[0])
		if err == nil {
			_, err = e.stdout.Write(text)
		}
		return err
	}
	var list []recipes.Override
	for _, p := range pairs {
		o, err := recipes.ParseOverride(p)
		if err != nil {
			return err
		}
		list = append(list, o)
	}
	r, err := recipes.Load(names[0], list)
	if err != nil {
		return err
	}
	text, err := r.Marshal()
	if err == nil {
		_, err = e.stdout.Write(text)
	}
	return err
}

func (e *env) validateRecipes(c *cli.Context) error {
	if !c.Args().Present() {
		return usagef(c, "expected at least one recipe")
	}
	var all []error
	for _, name := range c.Args().Slice() {
		if _, err := recipes.Load(name, nil); err != nil {
			all = append(all, err)
			continue
		}
		fmt.Fprintf(e.stdout, "%s: ok\n", name)
	}
	return errors.Join(all...)
}

func copyRecipe(c *cli.Context) error {
	if c.NArg() != 2 {
		return usagef(c, "expected a recipe and a file, found %d arguments", c.NArg())
	}
	text, err := recipes.Text(c.Args().Get(0))
	if err != nil {
		return err
	}
	to := c.Args().Get(1)
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return hint.Errorf("give another name", "%s exists", to)
	}
	return atomicfile.Write(to, text)
}
