package cli

import (
	"cmp"

	"github.com/urfave/cli/v2"

	"tune/quantize"
	"tune/recipes"
)

// shardFlags of commands that may write a model as several files.
func shardFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "shard-size", Usage: "write OUT-00001-of-00003.gguf and so on, with tensors of at most `SIZE` each, such as 2GB (a larger tensor has its own file)"},
		&cli.BoolFlag{Name: "keep-split", Usage: "write as many files as SOURCE has, each with the same tensors"},
	}
}

func sharded(c *cli.Context) bool { return c.IsSet("shard-size") || c.Bool("keep-split") }

// shardOptions reads shardFlags.
func shardOptions(c *cli.Context, o *quantize.PlanOptions) error {
	o.KeepSplit = c.Bool("keep-split")
	if !c.IsSet("shard-size") {
		return nil
	}
	if o.KeepSplit {
		return usagef(c, "expected either --shard-size or --keep-split, found both")
	}
	var n recipes.Size
	if err := n.UnmarshalText([]byte(c.String("shard-size"))); err != nil {
		return usagef(c, "shard-size: %v", err)
	}
	if n == 0 {
		return usagef(c, "shard-size: expected more than 0 bytes, found %q", c.String("shard-size"))
	}
	o.ShardBytes = int64(n)
	return nil
}

// clearShards makes way for the files of a plan. Those that an interrupted run of it has renamed are not in the way.
func clearShards(p *quantize.Plan, source, out string, overwrite bool) error {
	for i, path := range p.Paths(out) {
		if err := checkDistinct(source, path); err != nil {
			return err
		}
		if err := clearOutput(path, overwrite || i > 0 && p.Begun(out)); err != nil {
			return err
		}
	}
	return nil
}

// shardFiles lists the files of a model that is written as several; nil: it is one file.
func shardFiles(p *quantize.Plan, out string) (files []shardFile) {
	if len(p.Parts) == 1 {
		return nil
	}
	for i, path := range p.Paths(cmp.Or(out, "OUT.gguf")) { // a dry run needs no name
		files = append(files, shardFile{path, p.Parts[i].Size, p.Parts[i].Count})
	}
	return files
}

type shardFile struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"`
	Tensors int    `json:"tensors"`
}
