// Command tune turns an open-weight language model into a team's own: fine-tune, merge, convert, measure.
package main

import (
	"os"

	"tune/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
