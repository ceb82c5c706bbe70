package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/data"
	"tune/internal/atomicfile"
	"tune/internal/chat"
)

func dataConvertCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "convert",
		Usage:     "write rows of any format as Parquet, Arrow or JSON lines",
		UsageText: "tune data convert (--recipe RECIPE | --data PATH [--base MODEL]) [--split SPLIT] [--form FORM] --output FILE [key=value ...]",
		Description: "The ending of --output says what is written: .parquet, .arrow, .jsonl or .jsonl.zst. Forms: columns, the rows as they are;\n" +
			"messages, every format as conversations; tokens, input_ids and labels as the model of --base will see them.\n" +
			"In Parquet and Arrow a column whose rows differ in shape, such as tool calls, is JSON text; tune reads it as what it was.",
		Flags: append(dataFlags(),
			&cli.StringFlag{Name: "form", Value: "columns", Usage: strings.Join(data.ConvertForms, ", ")},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Required: true, Usage: "`FILE` to write"}),
		Action: func(c *cli.Context) error { return e.dataConvert(c) },
	}
}

func (e *env) dataConvert(c *cli.Context) error {
	name, form := c.String("output"), c.String("form")
	if !slices.Contains(data.ConvertForms, form) {
		return usagef(c, "--form: expected one of %s, found %q", strings.Join(data.ConvertForms, ", "), form)
	}
	if !data.CanWrite(name) {
		return usagef(c, "--output: expected a name that ends in .parquet, .arrow, .jsonl or .jsonl.zst, found %q", name)
	}
	v, err := e.openView(c)
	if err != nil {
		return err
	}
	defer v.close()
	var columns data.Columns
	if data.Typed(name) { // the types of columns are known after all rows
		err := v.Convert(e.ctx, form, func(row *chat.Dict) error {
			columns.See(row)
			return nil
		})
		if err != nil {
			return err
		}
	}
	f, err := atomicfile.Create(name)
	if err != nil {
		return err
	}
	rows := 0
	w, err := data.NewRowWriter(name, f, &columns)
	if err == nil {
		err = v.Convert(e.ctx, form, func(row *chat.Dict) error {
			rows++
			return w.Write(row)
		})
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		f.Abort()
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: %d rows\n", name, rows)
	if list := columns.AsText(); len(list) > 0 {
		fmt.Fprintf(e.stdout, "as JSON text, because their rows differ in shape: %s\n", strings.Join(list, ", "))
	}
	return nil
}
