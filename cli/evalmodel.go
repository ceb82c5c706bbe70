package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/data"
	"tune/eval/ask"
	"tune/eval/endpoint"
	"tune/eval/journal"
	"tune/eval/local"
	scores "tune/eval/report"
	"tune/eval/sandbox"
	"tune/eval/task"
	"tune/internal/hub"
	"tune/internal/model"
	"tune/kernels"
	"tune/lora"
)

// evalModelFlags say who answers.
func evalModelFlags() []cli.Flag {
	return append(modelFlags(),
		&cli.IntFlag{Name: "ctx", Usage: "`TOKENS` the model may see (default: as many as it was made for)"},
		&cli.BoolFlag{Name: "truncate", Usage: "leave out the beginning of a context that is too long, and count it, instead of stopping"},
		&cli.StringFlag{Name: "endpoint", Usage: "`URL` of an OpenAI-compatible API, such as http://localhost:8080/v1, instead of --base"},
		&cli.StringFlag{Name: "model", Usage: "`NAME` of the model at the endpoint"},
		&cli.StringFlag{Name: "key-env", Usage: "`VARIABLE` of the environment with the key of the endpoint"},
		&cli.BoolFlag{Name: "chat-completions", Usage: "ask the endpoint by chat/completions, which cannot score given answers"},
		&cli.Float64Flag{Name: "per-minute", Usage: "most requests a minute at the endpoint"},
		&cli.IntFlag{Name: "concurrency", Usage: "requests under way at the endpoint at a time"},
		&cli.StringFlag{Name: "price", Usage: "of a million tokens read and written, as `READ,WRITTEN`"},
		&cli.StringFlag{Name: "judge", Usage: "`MODEL` that reads answers: a folder or GGUF file, or with --judge-endpoint a name"},
		&cli.StringFlag{Name: "judge-endpoint", Usage: "`URL` of the judge's API"},
		&cli.StringFlag{Name: "judge-key-env", Usage: "`VARIABLE` of the environment with the key of the judge's API"},
		&cli.StringFlag{Name: "judge-price", Usage: "as --price, of the judge"})
}

// evalModel is who answers, with what must be closed.
type evalModel struct {
	model, judge ask.Model
	template     string // of model, when it is on this machine
	config       scores.Config
	endpoints    []*endpoint.Model
	closers      []func()
}

func (m *evalModel) close() {
	for i := len(m.closers) - 1; i >= 0; i-- {
		m.closers[i]()
	}
}

// usage prints what endpoints were asked.
func (m *evalModel) usage(w io.Writer) {
	for _, x := range m.endpoints {
		u := x.Usage()
		fmt.Fprintf(w, "note: %s answered %d requests with %d retries: %d tokens read, %d written, cost %.4f\n", x.Name(), u.Requests, u.Retries, u.Read, u.Written, u.Cost)
	}
}

// remote opens a model behind an API; price is the flag with its prices.
func (m *evalModel) remote(c *cli.Context, o endpoint.Options, price string) (ask.Model, error) {
	if p := c.String(price); p != "" {
		if n, err := fmt.Sscanf(p, "%g,%g", &o.PriceRead, &o.PriceWritten); n != 2 || err != nil {
			return nil, usagef(c, "%s: expected READ,WRITTEN, found %q", price, p)
		}
	}
	x, err := endpoint.New(o)
	if err != nil {
		return nil, err
	}
	m.endpoints = append(m.endpoints, x)
	return x, nil
}

func openEvalModel(c *cli.Context) (_ *evalModel, err error) {
	m := &evalModel{}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if url := c.String("endpoint"); url != "" {
		o := endpoint.Options{URL: url, Model: c.String("model"), KeyEnv: c.String("key-env"), Chat: c.Bool("chat-completions"), Context: c.Int("ctx"),
			PerMinute: c.Float64("per-minute"), Concurrency: c.Int("concurrency")}
		if m.model, err = m.remote(c, o, "price"); err != nil {
			return nil, err
		}
		m.config = scores.Config{Model: "endpoint", ModelArgs: map[string]any{"url": url, "model": o.Model}}
	} else if err = m.local(c); err != nil {
		return nil, err
	}
	if name := c.String("judge"); name != "" {
		if m.judge, err = m.openJudge(c, name); err != nil {
			return nil, fmt.Errorf("judge: %w", err)
		}
	}
	return m, m.journal(c)
}

func (m *evalModel) local(c *cli.Context) error {
	o, err := computing(c, c.String("precision"))
	if err != nil {
		return err
	}
	m.config = scores.Config{Model: "local", ModelArgs: map[string]any{"base": c.String("base"), "adapter": c.String("adapter"), "precision": c.String("precision")}}
	m.model, err = m.open(c.String("base"), c.String("adapter"), local.Options{Exact: o.Exact, Int8: o.Int8, Context: c.Int("ctx"), Truncate: c.Bool("truncate")})
	return err
}

// open opens a checkpoint to be asked.
func (m *evalModel) open(base, adapter string, o local.Options) (ask.Model, error) {
	b, err := openBase(base, false)
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, func() { b.Close() })
	if m.model == nil { // the judge is opened after the model
		m.template = b.ChatTemplate()
	}
	pool := kernels.NewPool(0)
	m.closers = append(m.closers, pool.Close)
	var t model.Trained
	if adapter != "" {
		shape, err := model.New(b, model.Options{Exact: o.Exact, Int8: o.Int8})
		if err != nil {
			return nil, err
		}
		a, err := lora.Load(adapter, shape)
		if err != nil {
			return nil, fmt.Errorf("adapter: %w", err)
		}
		t = a
		o.Name = base + " + " + adapter
	}
	x, err := local.New(b, t, pool, o)
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, x.Close)
	return x, nil
}

func (m *evalModel) openJudge(c *cli.Context, name string) (ask.Model, error) {
	if url := c.String("judge-endpoint"); url != "" {
		return m.remote(c, endpoint.Options{URL: url, Model: name, KeyEnv: c.String("judge-key-env"), Chat: true}, "judge-price")
	}
	return m.open(name, "", local.Options{})
}

// journal keeps the answers of model and judge.
func (m *evalModel) journal(c *cli.Context) error {
	j, err := m.openJournal(c)
	if err != nil || j == nil {
		return err
	}
	m.model = j.Wrap(m.model)
	if m.judge != nil {
		m.judge = j.Wrap(m.judge)
	}
	return nil
}

// openJournal opens the journal of the flags, or that of the user's cache; nil when the flags want none.
func (m *evalModel) openJournal(c *cli.Context) (*journal.Journal, error) {
	path := c.String("journal")
	if path == "-" {
		return nil, nil
	}
	if path == "" {
		path = filepath.Join(cacheDir(), "answers.db")
	}
	j, err := journal.Open(path)
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, func() { j.Close() })
	return j, nil
}

// codeEnv allows what a model writes to be run.
func codeEnv(ctx context.Context) (task.Env, error) {
	python, err := sandbox.FindPython(ctx)
	if err != nil {
		return task.Env{}, err
	}
	return task.Env{Run: func(ctx context.Context, program string) (bool, error) {
		r, err := sandbox.Run(ctx, sandbox.Program{Python: python, Source: program, Limits: sandbox.Limits{Wall: codeSeconds * time.Second}})
		return r.OK(), err
	}}, nil
}

// codeSeconds bounds the run of one solution with its tests.
const codeSeconds = 15

// hubFetch takes the data sets that come with the program from it, others from the hub's cache and, when that is allowed, from the hub into it, which it tells.
func (e *env) hubFetch(download bool) (task.Fetch, error) {
	client, err := hub.FromEnv()
	if err != nil {
		return nil, err
	}
	client.Offline = client.Offline || !download
	client.Report = func(text string) { fmt.Fprintln(e.stderr, text) }
	return func(dataset, name, split string) ([]string, error) {
		if strings.HasPrefix(dataset, "builtin:") {
			return data.BuiltinFiles(dataset, cacheDir(), split)
		}
		if !strings.Contains(dataset, "/") {
			return nil, fmt.Errorf("%s is no data set of the hub", dataset)
		}
		a := hub.Address{Repo: hub.Repo{Kind: "datasets", Name: dataset, Revision: "main"}, Config: name}
		return client.Dataset(e.ctx, a, split, func(file string) bool {
			return slices.ContainsFunc([]string{".parquet", ".jsonl", ".jsonl.gz", ".arrow", ".csv", ".tsv", ".json"}, func(end string) bool { return strings.HasSuffix(file, end) })
		})
	}, nil
}
