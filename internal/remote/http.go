package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"tune/internal/hint"
)

// openHTTP asks for the first byte: not every server answers HEAD.
func (c *Client) openHTTP(ctx context.Context, url string) (*File, error) {
	f := &File{client: c, name: url}
	empty := false
	err := c.Copy(ctx, io.Discard, func(ctx context.Context, _ int64) (io.ReadCloser, error) {
		r, err := c.request(ctx, url, 0, 1, "")
		if err != nil {
			return nil, err
		}
		f.version = version(r)
		if empty = r.StatusCode != http.StatusPartialContent; empty {
			r.Body.Close()
			return nil, Permanent{Err: errors.New("the file is empty")}
		}
		if _, f.size, err = contentRange(r); err != nil {
			r.Body.Close()
			return nil, err
		}
		return r.Body, nil
	}, 1)
	if err != nil && !empty {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	f.get = func(ctx context.Context, from, to int64) (io.ReadCloser, error) {
		r, err := c.request(ctx, url, from, to, f.version)
		if err != nil {
			return nil, err
		}
		at, size, err := contentRange(r)
		switch {
		case r.StatusCode == http.StatusPreconditionFailed:
			err = changed(f.Version(), "another")
		case err == nil && (version(r) != f.version || size != f.size):
			err = changed(f.Version(), fmt.Sprintf("%s %d", version(r), size))
		case err == nil && at != from:
			err = fmt.Errorf("expected bytes from %d on, found them from %d on", from, at)
		}
		if err != nil {
			r.Body.Close()
			return nil, err
		}
		return r.Body, nil
	}
	return f, nil
}

// request asks for the bytes from..to-1.
func (c *Client) request(ctx context.Context, url string, from, to int64, version string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, Permanent{Err: err}
	}
	q.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	q.Header.Set("Accept-Encoding", "identity")
	if strings.HasPrefix(version, `"`) { // a weak tag never matches
		q.Header.Set("If-Match", version)
	}
	r, err := c.HTTP.Do(q)
	if err != nil {
		return nil, err
	}
	switch {
	case r.StatusCode == http.StatusPartialContent, r.StatusCode == http.StatusPreconditionFailed, r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return r, nil
	case r.StatusCode == http.StatusOK && r.ContentLength == 0:
		return r, nil // servers answer so for an empty file
	case r.StatusCode == http.StatusOK:
		err = Permanent{Err: hint.Errorf("download the file and name the copy", "expected a server that answers requests for ranges, found one that does not")}
	default:
		err = Status(r)
	}
	r.Body.Close()
	return nil, err
}

// Status is the error of an answer that is none. Busy and broken servers are worth another try.
func Status(r *http.Response) error {
	err := fmt.Errorf("the server answered %s", r.Status)
	if r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout || r.StatusCode >= 500 {
		return err
	}
	return Permanent{Err: err}
}

// version tells versions of a file apart by what the server says of it.
func version(r *http.Response) string {
	if tag := r.Header.Get("ETag"); tag != "" {
		return tag
	}
	return r.Header.Get("Last-Modified")
}

// contentRange reads "bytes 0-0/123".
func contentRange(r *http.Response) (from, size int64, err error) {
	text := r.Header.Get("Content-Range")
	var to int64
	if n, _ := fmt.Sscanf(text, "bytes %d-%d/%d", &from, &to, &size); n != 3 || from < 0 || size < from {
		return 0, 0, Permanent{Err: fmt.Errorf("expected Content-Range: bytes from-to/size, found %q", text)}
	}
	return from, size, nil
}
