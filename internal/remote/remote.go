// Package remote reads files that lie elsewhere, over https and S3, by ranges and in bounded memory.
//
// A File is an io.ReaderAt. What it reads comes in pieces, of which the Client keeps a few for all its files. A connection
// that breaks is taken up again at the byte it had reached. Every answer must come from the file that was opened: an
// entity tag or a size that has changed is an error, because rows would come from two versions.
package remote

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"tune/internal/hint"
)

const (
	piece     = 1 << 20
	maxAhead  = 8  // pieces that one request may ask for when a file is read forwards
	maxPieces = 64 // kept by a client
	// stall is how long a connection may bring nothing.
	stall = time.Minute
)

// Client opens files. It may be used by several goroutines.
type Client struct {
	HTTP *http.Client
	// Wait is called before try n (from 1) of a request that failed; an error ends the tries.
	Wait func(ctx context.Context, n int) error

	ctx    context.Context // of all reading
	cancel context.CancelFunc
	mu     sync.Mutex
	kept   map[key]*list.Element // of kept{}
	order  list.List             // most recently used first
	s3     s3Clients
}

type key struct {
	file *File
	at   int64 // number of the piece
}

type kept struct {
	key
	data []byte
}

// New returns a client that tries five times over about 7 seconds.
func New() *Client {
	c := &Client{HTTP: http.DefaultClient, Wait: Backoff, kept: map[key]*list.Element{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends all reading.
func (c *Client) Close() { c.cancel() }

// Backoff tries again at once, then after 1, 2 and 4 seconds, and then gives up.
func Backoff(ctx context.Context, n int) error {
	if n > 4 {
		return errors.New("five tries failed")
	}
	if n == 1 {
		return ctx.Err()
	}
	select {
	case <-time.After(time.Second << (n - 2)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Is says whether a path names a file that this package opens.
func Is(path string) bool {
	return strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "s3://")
}

// Open finds out size and version of a file, by an https:// or s3:// address.
func (c *Client) Open(ctx context.Context, address string) (*File, error) {
	if strings.HasPrefix(address, "s3://") {
		return c.openS3(ctx, address)
	}
	return c.openHTTP(ctx, address)
}

// File is an opened file.
type File struct {
	client  *Client
	name    string
	size    int64
	version string // entity tag, or the time of the last change where there is none
	// get opens the bytes from..to-1 of this version.
	get func(ctx context.Context, from, to int64) (io.ReadCloser, error)

	mu    sync.Mutex // one request at a time
	next  int64      // piece after the last one fetched
	ahead int64      // pieces of the last request
}

// Size is the length in bytes.
func (f *File) Size() int64 { return f.size }

// Version identifies the content as far as the server tells it apart.
func (f *File) Version() string { return fmt.Sprintf("%s %d", f.version, f.size) }

// Close forgets the file's pieces.
func (f *File) Close() error {
	c := f.client
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.kept {
		if k.file == f {
			c.order.Remove(e)
			delete(c.kept, k)
		}
	}
	return nil
}

// ReadAt reads whole pieces as they are needed.
func (f *File) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 {
		return 0, fmt.Errorf("%s: expected an offset of 0 or more, found %d", f.name, at)
	}
	for n < len(p) {
		if at >= f.size {
			return n, io.EOF
		}
		data, err := f.piece(at / piece)
		if err != nil {
			return n, err
		}
		k := copy(p[n:], data[at%piece:])
		n, at = n+k, at+int64(k)
	}
	return n, nil
}

// piece returns a piece, and fetches it with those after it when the file is read forwards.
func (f *File) piece(at int64) ([]byte, error) {
	if data := f.client.lookup(key{f, at}); data != nil {
		return data, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if data := f.client.lookup(key{f, at}); data != nil {
		return data, nil
	}
	if f.ahead = min(2*f.ahead, maxAhead); at != f.next || f.ahead == 0 {
		f.ahead = 1
	}
	from, to := at*piece, min((at+f.ahead)*piece, f.size)
	f.next = at + f.ahead
	buf := make([]byte, 0, to-from)
	w := writer(func(b []byte) (int, error) {
		if len(b) > cap(buf)-len(buf) {
			return 0, fmt.Errorf("%s: expected %d bytes, found more", f.name, to-from)
		}
		buf = append(buf, b...)
		return len(b), nil
	})
	err := f.client.Copy(f.client.ctx, w, func(ctx context.Context, done int64) (io.ReadCloser, error) {
		return f.get(ctx, from+done, to)
	}, to-from)
	if err != nil {
		return nil, fmt.Errorf("%s: bytes %d to %d: %w", f.name, from, to-1, err)
	}
	for i := int64(0); i*piece < int64(len(buf)); i++ {
		f.client.keep(key{f, at + i}, buf[i*piece:min((i+1)*piece, int64(len(buf)))])
	}
	return buf[:min(piece, len(buf))], nil
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func (c *Client) lookup(k key) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*kept).data
}

func (c *Client) keep(k key, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[k] = c.order.PushFront(&kept{k, data})
	for c.order.Len() > maxPieces {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.kept, last.Value.(*kept).key)
	}
}

// Permanent is an error that no new try can mend.
type Permanent struct{ Err error }

func (p Permanent) Error() string { return p.Err.Error() }

func (p Permanent) Unwrap() error { return p.Err }

// Copy writes size bytes of what open gives, and opens again behind the bytes it has when a connection breaks. A try that
// brought bytes starts the count of tries anew. Errors of w and Permanent ones end it at once.
func (c *Client) Copy(ctx context.Context, w io.Writer, open func(ctx context.Context, done int64) (io.ReadCloser, error), size int64) error {
	var done int64
	for try := 1; ; try++ {
		before := done
		err := once(ctx, w, open, &done, size)
		if err == nil && done == size {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("the connection ended after %d of %d bytes", done, size)
		}
		var permanent Permanent
		if errors.As(err, &permanent) || ctx.Err() != nil {
			return err
		}
		if done > before {
			try = 1
		}
		if e := c.Wait(ctx, try); e != nil {
			return fmt.Errorf("%w (%w)", err, e)
		}
	}
}

func once(ctx context.Context, w io.Writer, open func(ctx context.Context, done int64) (io.ReadCloser, error), done *int64, size int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(stall, cancel)
	defer timer.Stop()
	body, err := open(ctx, *done)
	if err != nil {
		return err
	}
	defer body.Close()
	buf := make([]byte, 64<<10)
	for *done < size {
		n, err := body.Read(buf[:min(int64(len(buf)), size-*done)])
		timer.Reset(stall)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return Permanent{Err: err}
			}
			*done += int64(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changed is the error of a file that is no longer the one that was opened.
func changed(was, is string) error {
	return Permanent{Err: hint.Errorf("start anew with the changed file", "the file has changed since it was opened: expected version %s, found %s", was, is)}
}
