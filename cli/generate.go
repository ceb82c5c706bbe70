package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/chat"
	"tune/internal/hint"
	"tune/internal/infer"
	"tune/internal/tokenizer"
)

func generateCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "continue a text or answer in a conversation",
		UsageText: "tune generate --base MODEL [--adapter DIR] --prompt TEXT\n   tune generate --base MODEL [--adapter DIR] --chat [--system TEXT] [--prompt TEXT]",
		Description: `Without --chat the prompt is continued as it stands. With --chat it is a user's turn, rendered by the model's own chat
template; without --prompt each line of standard input is a turn. The answer is written as it comes. The same seed gives
the same answer; without --temperature the likeliest token is taken.`,
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "prompt", Usage: "`TEXT` to continue or to answer, - for all of standard input"},
			&cli.BoolFlag{Name: "chat", Usage: "hold a conversation"},
			&cli.StringFlag{Name: "system", Usage: "`TEXT` of the system turn of a conversation"},
			&cli.IntFlag{Name: "max-tokens", Value: 256, Usage: "most tokens of an answer, 0 for the whole context"},
			&cli.Float64Flag{Name: "temperature", Usage: "0 takes the likeliest token"},
			&cli.IntFlag{Name: "top-k", Usage: "choose among the `K` likeliest tokens, 0 for all"},
			&cli.Float64Flag{Name: "top-p", Value: 1, Usage: "choose among the likeliest tokens that together have this probability"},
			&cli.Float64Flag{Name: "min-p", Usage: "choose among tokens at least this times as likely as the likeliest"},
			&cli.Float64Flag{Name: "repetition-penalty", Value: 1, Usage: "above 1 makes tokens that occurred less likely"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the random choices"},
			jsonFlag()),
		Action: func(c *cli.Context) error {
			if !c.Bool("chat") && !c.IsSet("prompt") {
				return usagef(c, "expected --prompt or --chat")
			}
			if c.IsSet("system") && !c.Bool("chat") {
				return usagef(c, "--system needs --chat")
			}
			r, err := load(c)
			if err != nil {
				return err
			}
			defer r.close()
			engine, err := infer.New(r.model, r.trained, r.pool)
			if err != nil {
				return err
			}
			defer engine.Close()
			w, err := newWriter(c, e, r, engine)
			if err != nil {
				return err
			}
			return w.run(c)
		},
	}
}

// writer turns prompts into answers on standard output.
type writer struct {
	*running
	engine  *infer.Engine
	e       *env
	tok     *tokenizer.Tokenizer
	options infer.Options
	json    bool
}

// answer is what --json prints for each prompt.
type answer struct {
	Text         string `json:"text"`
	Reason       string `json:"reason"` // stop, length or context
	PromptTokens int    `json:"prompt_tokens"`
	Tokens       int    `json:"tokens"`
}

func newWriter(c *cli.Context, e *env, r *running, engine *infer.Engine) (*writer, error) {
	w := &writer{running: r, engine: engine, e: e, json: c.Bool("json")}
	w.options = infer.Options{MaxTokens: c.Int("max-tokens"), Stops: r.base.Stops(), Sampling: infer.Sampling{
		RepetitionPenalty: c.Float64("repetition-penalty"), Temperature: c.Float64("temperature"), TopK: c.Int("top-k"),
		TopP: c.Float64("top-p"), MinP: c.Float64("min-p"), Seed: c.Uint64("seed")}}
	if w.options.MaxTokens < 0 {
		return nil, usagef(c, "max-tokens: expected a number not below 0, found %d", w.options.MaxTokens)
	}
	if err := w.options.Check(); err != nil {
		return nil, usagef(c, "%v", err)
	}
	var err error
	w.tok, err = r.base.Tokenizer()
	return w, err
}

func (w *writer) run(c *cli.Context) error {
	prompt := c.String("prompt")
	if prompt == "-" {
		text, err := io.ReadAll(w.e.stdin)
		if err != nil {
			return err
		}
		prompt = string(text)
	}
	if !c.Bool("chat") {
		enc, err := w.tok.Encode(prompt, tokenizer.Options{AddSpecial: true})
		if err != nil {
			return fmt.Errorf("prompt: %w", err)
		}
		if len(enc.IDs) == 0 {
			return usagef(c, "prompt: expected text, found none")
		}
		_, err = w.answer(c, enc.IDs)
		return err
	}
	return w.converse(c, prompt)
}

// answer generates and writes one answer.
func (w *writer) answer(c *cli.Context, ids []int32) (string, error) {
	var text strings.Builder
	stream := w.tok.Stream(true)
	show := func(s string) error {
		text.WriteString(s)
		if w.json {
			return nil
		}
		_, err := io.WriteString(w.e.stdout, s)
		return err
	}
	out, reason, err := w.engine.Generate(c.Context, ids, w.options, func(id int32) error { return show(stream.Add(id)) })
	if err != nil {
		return "", err
	}
	if err := show(stream.Flush()); err != nil {
		return "", err
	}
	if w.json {
		return text.String(), writeJSON(w.e.stdout, answer{text.String(), reason, len(ids), len(out)})
	}
	_, err = fmt.Fprintln(w.e.stdout)
	return text.String(), err
}

// converse answers a prompt, or each line of standard input when there is none.
func (w *writer) converse(c *cli.Context, prompt string) error {
	template, err := w.base.Template()
	if err == nil && template == nil {
		err = hint.Errorf("use a model made for conversations, or leave --chat out", "%s: the model has no chat template", w.base.Path)
	}
	if err != nil {
		return err
	}
	var talk chat.Conversation
	if s := c.String("system"); s != "" {
		talk.Messages = append(talk.Messages, chat.Message{Role: "system", Content: s})
	}
	turn := func(text string) error {
		talk.Messages = append(talk.Messages, chat.Message{Role: "user", Content: text})
		ids, err := w.render(template, talk)
		if err != nil {
			return err
		}
		reply, err := w.answer(c, ids)
		talk.Messages = append(talk.Messages, chat.Message{Role: "assistant", Content: reply})
		return err
	}
	if c.IsSet("prompt") {
		return turn(prompt)
	}
	lines := bufio.NewScanner(w.e.stdin)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		if err := turn(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// render turns a conversation into the ids after which the model's next turn begins.
func (w *writer) render(template *chat.Template, talk chat.Conversation) ([]int32, error) {
	o := chat.Options{AddGenerationPrompt: true, Now: time.Now()}
	o.BOS, o.EOS, o.Pad = w.tok.Names()
	r, err := template.Render(talk, o)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	enc, err := w.tok.Encode(r.Text, tokenizer.Options{})
	if err != nil {
		return nil, err
	}
	return enc.IDs, nil
}
