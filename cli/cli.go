// Package cli is the command line: the only package that prints, exits and reads flags. Each command is one file with
// one function that returns it; what a command does lives below, in packages that know nothing of flags.
//
// Standard output carries results and nothing else; progress, notes and errors go to standard error. An error is two
// lines, "tune: error: ..." and, when there is one, "tune: hint: ...". Exit codes: 0 done, 1 failed, 2 wrong usage,
// 3 a gate that was asked for was missed, 4 no gate was missed but one could not be decided, 130 interrupted.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"tune/eval/sandbox"
	"tune/internal/hint"
)

// env is what a command may touch of the outside world.
type env struct {
	ctx    context.Context // cancelled by Ctrl-C
	stdin  io.Reader
	stdout io.Writer // results
	stderr io.Writer // progress and notes
}

// commands in the order of the help text.
func commands(e *env) []*cli.Command {
	return []*cli.Command{
		loraCommand(e),
		fullCommand(e),
		planCommand(e),
		generateCommand(e),
		scoreCommand(e),
		perplexityCommand(e),
		mergeCommand(e),
		convertCommand(e),
		quantizeCommand(e),
		exportCommand(e),
		imatrixCommand(e),
		calibrateCommand(e),
		verifyCommand(e),
		evalCommand(e),
		compareCommand(e),
		dataCommand(e),
		inspectCommand(e),
		tokenizerCommand(e),
		recipeCommand(e),
		benchCommand(e),
		doctorCommand(e),
		versionCommand(e),
		completionCommand(e),
	}
}

// The exit codes of the package comment.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError marks an error as the caller's mistake in writing the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// usagef is a usage error with the hint to look at the command's help.
func usagef(c *cli.Context, format string, args ...any) error {
	return usageError{hint.Errorf("see `"+c.Command.HelpName+" --help`", format, args...)}
}

// Main runs the program and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if sandbox.IsChild(args) { // the inside of a sandbox that this program is building around generated code
		return sandbox.Child()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // a second Ctrl-C ends the program at once
		<-ctx.Done()
		stop()
	}()
	app := newApp(&env{ctx, stdin, stdout, stderr})
	err := app.RunContext(ctx, reorder(app, args))
	if err == nil {
		return 0
	}
	return reportError(stderr, err, ctx.Err() != nil)
}

// reportError prints an error and its hint and chooses the exit code.
func reportError(stderr io.Writer, err error, interrupted bool) int {
	fmt.Fprintf(stderr, "tune: error: %v\n", err)
	if h := hint.Of(err); h != "" {
		fmt.Fprintf(stderr, "tune: hint: %s\n", h)
	}
	var usage usageError
	var exit cli.ExitCoder
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &exit):
		return exit.ExitCode()
	case interrupted:
		return exitInterrupted
	}
	return exitFailed
}

func newApp(e *env) *cli.App {
	onUsage := func(c *cli.Context, err error, _ bool) error { return usagef(c, "%v", err) }
	app := &cli.App{
		Name:                   "tune",
		Usage:                  "turn an open-weight language model into your own",
		UsageText:              "tune COMMAND [flags] [arguments]\n\nExample: tune lora --recipe legal",
		Writer:                 e.stdout,
		ErrWriter:              e.stderr,
		Reader:                 e.stdin,
		HideVersion:            true,
		EnableBashCompletion:   true,
		UseShortOptionHandling: true,
		Suggest:                true,
		Commands:               commands(e),
		OnUsageError:           onUsage,
		ExitErrHandler:         func(*cli.Context, error) {}, // Main reports
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError{hint.Errorf(suggest(c.App, c.Args().First()), "unknown command %q", c.Args().First())}
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		setUsageHandler(c, onUsage)
	}
	return app
}

func setUsageHandler(c *cli.Command, f cli.OnUsageErrorFunc) {
	c.OnUsageError = f
	for _, s := range c.Subcommands {
		setUsageHandler(s, f)
	}
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = func(x *cli.Context) error {
			if x.Args().Present() {
				return usagef(x, "unknown command %q of %s", x.Args().First(), x.Command.HelpName)
			}
			return cli.ShowSubcommandHelp(x)
		}
	}
}

// suggest names the commands, the likeliest first.
func suggest(app *cli.App, name string) string {
	if s := cli.SuggestCommand(app.Commands, name); s != "" {
		return s
	}
	return "see `tune --help`"
}

// reorder moves flags before positional arguments within the command they belong to, because the flag parser stops at
// the first positional one and people write `tune lora lora.rank=8 --recipe legal`. What follows "--" stays where it is.
func reorder(app *cli.App, args []string) []string {
	if len(args) < 2 || slices.Contains(args, "--generate-bash-completion") {
		return args
	}
	out, rest := []string{args[0]}, args[1:]
	cmds, flags := app.Commands, app.Flags
	for len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		i := slices.IndexFunc(cmds, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if i < 0 {
			break
		}
		out, flags, cmds = append(out, rest[0]), cmds[i].Flags, cmds[i].Subcommands
		rest = rest[1:]
	}
	var front, back []string
	for len(rest) > 0 {
		a := rest[0]
		rest = rest[1:]
		switch {
		case a == "--":
			return slices.Concat(out, front, []string{"--"}, back, rest)
		case !strings.HasPrefix(a, "-") || a == "-":
			back = append(back, a)
		case len(out) > 1 && slices.Contains(cli.HelpFlag.Names(), strings.TrimLeft(a, "-")):
			return append(out, a) // or arguments would be taken for topics of help
		default:
			front = append(front, a)
			if takesValue(flags, a) && len(rest) > 0 {
				front, rest = append(front, rest[0]), rest[1:]
			}
		}
	}
	return slices.Concat(out, front, back)
}

// takesValue tells whether the next argument belongs to flag a, written "-x" or "--x".
func takesValue(flags []cli.Flag, a string) bool {
	name := strings.TrimLeft(a, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}

// overrides splits positional arguments into key=value pairs, in order, and the others.
func overrides(args []string) (pairs, others []string) {
	for _, a := range args {
		if k, _, ok := strings.Cut(a, "="); ok && k != "" && !strings.ContainsAny(k, "/\\ ") {
			pairs = append(pairs, a)
		} else {
			others = append(others, a)
		}
	}
	return pairs, others
}
