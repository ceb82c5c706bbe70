package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionScripts ask the program itself for the words that may follow, so that they never go stale.
var completionScripts = map[string]string{
	"bash": `_tune() {
  local words
  words=$("${COMP_WORDS[@]:0:$COMP_CWORD}" --generate-bash-completion 2>/dev/null)
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o bashdefault -o default -F _tune tune
`,
	"zsh": `#compdef tune
_tune() {
  local -a words_
  words_=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
  _describe 'tune' words_
}
compdef _tune tune
`,
	"fish": `complete -c tune -f -a '(set -l w (commandline -opc); $w --generate-bash-completion 2>/dev/null)'
complete -c tune -F -n 'string match -q -- "-*" (commandline -ct)'
`,
}

func completionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print a shell completion script",
		UsageText:   "tune completion bash|zsh|fish",
		Description: "Example: source <(tune completion bash)",
		Action: func(c *cli.Context) error {
			s, ok := completionScripts[c.Args().First()]
			if !ok || c.NArg() != 1 {
				return usagef(c, "expected one of bash, zsh, fish, found %q", strings.Join(c.Args().Slice(), " "))
			}
			fmt.Fprint(e.stdout, s)
			return nil
		},
	}
}
