// Package hub fetches models and data sets of the Hugging Face hub into the cache that its own Python library uses, so that
// what either has downloaded the other finds:
//
//	<cache>/datasets--org--name/refs/main              the commit that a branch or tag stood at
//	<cache>/datasets--org--name/blobs/<etag>           a file by its hash (SHA-256 of large files, git's SHA-1 of small ones)
//	<cache>/datasets--org--name/snapshots/<commit>/... links to blobs under the files' own names
//
// A download that breaks is taken up where it stopped, also by a later run. What was fetched is checked against its hash. The
// token goes to the hub's own host and to no other.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/remote"
)

// Client knows where the hub and its cache are.
type Client struct {
	Endpoint string // https://huggingface.co
	Cache    string // folder of the repositories
	Token    string // "" for none
	Offline  bool   // nothing is asked of the network
	// Report is told of downloads, when it is set.
	Report func(text string)

	http  *http.Client
	retry *remote.Client
}

// FromEnv reads the variables that the Python library reads: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_TOKEN_PATH,
// HF_HUB_OFFLINE. Without HF_TOKEN the token is the one that its login command has saved.
func FromEnv() (*Client, error) {
	home := os.Getenv("HF_HOME")
	if home == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return nil, hint.Errorf("set HF_HOME", "hub: no home folder: %w", err)
			}
			base = filepath.Join(user, ".cache")
		}
		home = filepath.Join(base, "huggingface")
	}
	c := &Client{Endpoint: strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/"), Cache: os.Getenv("HF_HUB_CACHE"), Token: os.Getenv("HF_TOKEN")}
	if c.Endpoint == "" {
		c.Endpoint = "https://huggingface.co"
	}
	if c.Cache == "" {
		c.Cache = filepath.Join(home, "hub")
	}
	if c.Token == "" {
		path := os.Getenv("HF_TOKEN_PATH")
		if path == "" {
			path = filepath.Join(home, "token")
		}
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("hub: token: %w", err)
		}
		c.Token = strings.TrimSpace(string(text))
	}
	offline := strings.ToLower(os.Getenv("HF_HUB_OFFLINE"))
	c.Offline = offline == "1" || offline == "true" || offline == "yes" || offline == "on"
	return c.init(), nil
}

func (c *Client) init() *Client {
	c.retry = remote.New()
	c.http = &http.Client{CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 10 {
			return errors.New("expected at most 10 redirections")
		}
		if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
			r.Header.Del("Authorization")
		}
		return nil
	}}
	return c
}

// Repo is a repository at a branch, tag or commit.
type Repo struct {
	Kind     string // models or datasets
	Name     string // org/name
	Revision string
}

func (r Repo) String() string {
	text := r.Name
	if r.Kind == "datasets" {
		text = "datasets/" + text
	}
	if r.Revision != "main" {
		text += "@" + r.Revision
	}
	return "hf://" + text
}

// folder of the repository in the cache.
func (c *Client) folder(r Repo) string {
	return filepath.Join(c.Cache, r.Kind+"--"+strings.ReplaceAll(r.Name, "/", "--"))
}

// page is the address of a repository's page, under the hub's own and under its API.
func (r Repo) page() string {
	if r.Kind == "models" {
		return r.Name
	}
	return r.Kind + "/" + r.Name
}

// Snapshot is the list of a repository's files at one commit.
type Snapshot struct {
	Repo   Repo
	Commit string
	Files  []string // paths, sorted
	client *Client
}

// Open finds the commit and the files of a repository. Offline, these are the files in the cache.
func (c *Client) Open(ctx context.Context, r Repo) (*Snapshot, error) {
	if r.Revision == "" {
		r.Revision = "main"
	}
	if c.Offline {
		return c.cached(r)
	}
	var info struct {
		SHA      string
		Siblings []struct{ Rfilename string }
	}
	address := fmt.Sprintf("%s/api/%s/%s/revision/%s", c.Endpoint, r.Kind, r.Name, url.PathEscape(r.Revision))
	err := c.get(ctx, r, "", address, func(res *http.Response) error {
		const most = 64 << 20
		return json.NewDecoder(io.LimitReader(res.Body, most)).Decode(&info)
	})
	if err != nil {
		return nil, err
	}
	if !isHex(info.SHA, 40) {
		return nil, fmt.Errorf("%s: expected the commit of revision %s, found %q", r, r.Revision, info.SHA)
	}
	s := &Snapshot{Repo: r, Commit: info.SHA, client: c}
	for _, f := range info.Siblings {
		if !filepath.IsLocal(filepath.FromSlash(f.Rfilename)) {
			return nil, fmt.Errorf("%s: expected paths within the repository, found %q", r, f.Rfilename)
		}
		s.Files = append(s.Files, f.Rfilename)
	}
	slices.Sort(s.Files)
	if r.Revision != info.SHA {
		if err := atomicfile.Write(filepath.Join(c.folder(r), "refs", filepath.FromSlash(r.Revision)), []byte(info.SHA)); err != nil {
			return nil, fmt.Errorf("%s: %w", r, err)
		}
	}
	return s, nil
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// cached is the snapshot that earlier runs have fetched, as far as they have.
func (c *Client) cached(r Repo) (*Snapshot, error) {
	s := &Snapshot{Repo: r, Commit: r.Revision, client: c}
	if !isHex(r.Revision, 40) {
		b, err := os.ReadFile(filepath.Join(c.folder(r), "refs", filepath.FromSlash(r.Revision)))
		if err != nil {
			return nil, hint.Errorf("unset HF_HUB_OFFLINE, or fetch it where there is a network and copy the cache", "%s: offline, and not in the cache %s", r, c.Cache)
		}
		s.Commit = strings.TrimSpace(string(b))
	}
	dir := s.Dir()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, p)
		s.Files = append(s.Files, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, hint.Errorf("unset HF_HUB_OFFLINE", "%s: offline, and commit %s is not in the cache: %w", r, s.Commit, err)
	}
	slices.Sort(s.Files)
	return s, nil
}

// Dir is the folder in which the snapshot's files lie once they were fetched.
func (s *Snapshot) Dir() string { return filepath.Join(s.client.folder(s.Repo), "snapshots", s.Commit) }

// get asks for an address of a repository and hands a good answer to read.
func (c *Client) get(ctx context.Context, r Repo, file, address string, read func(*http.Response) error) error {
	err := c.retry.Copy(ctx, io.Discard, func(ctx context.Context, _ int64) (io.ReadCloser, error) {
		res, err := c.do(ctx, r, file, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		return res.Body, read(res)
	}, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", where(r, file), err)
	}
	return nil
}

func where(r Repo, file string) string {
	if file == "" {
		return r.String()
	}
	return r.String() + "/" + file
}

// do sends a request. The error says what the hub's own codes mean.
func (c *Client) do(ctx context.Context, r Repo, file, method, address string, header http.Header) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, remote.Permanent{Err: err}
	}
	for k, v := range header {
		q.Header[k] = v
	}
	q.Header.Set("User-Agent", "tune")
	q.Header.Set("Accept-Encoding", "identity")
	if c.Token != "" {
		q.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := c.http.Do(q)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 400 {
		return res, nil
	}
	res.Body.Close()
	what := strings.TrimSuffix(r.Kind, "s")
	if r.Kind == "datasets" {
		what = "data set"
	}
	code := res.Header.Get("X-Error-Code")
	switch {
	case code == "GatedRepo":
		err = hint.Errorf("accept its terms on "+c.Endpoint+"/"+r.page()+" and set HF_TOKEN to a token of that account", "the %s is gated", what)
	case code == "RevisionNotFound":
		err = fmt.Errorf("the %s has no revision %s", what, r.Revision)
	case code == "EntryNotFound":
		err = fmt.Errorf("the %s has no such file at revision %s", what, r.Revision)
	case res.StatusCode == http.StatusUnauthorized && c.Token != "" && code != "RepoNotFound":
		err = hint.Errorf("make a new token on "+c.Endpoint+"/settings/tokens", "the hub does not accept the token")
	case code == "RepoNotFound" || res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusNotFound:
		err = hint.Errorf("check the name; a private one needs HF_TOKEN", "the hub has no such %s, or shows it to its members alone", what)
	default:
		return nil, remote.Status(res)
	}
	return nil, remote.Permanent{Err: err}
}
