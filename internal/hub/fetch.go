package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/remote"
)

// Fetch brings a file of the snapshot into the cache, if it is not there, and returns its path.
func (s *Snapshot) Fetch(ctx context.Context, file string) (string, error) {
	c := s.client
	path := filepath.Join(s.Dir(), filepath.FromSlash(file))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if c.Offline {
		return "", hint.Errorf("unset HF_HUB_OFFLINE", "%s: offline, and not in the cache %s", where(s.Repo, file), c.Cache)
	}
	blob, err := s.blob(ctx, file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", where(s.Repo, file), noSpace(err))
	}
	if err := link(blob, path); err != nil {
		return "", fmt.Errorf("%s: %w", where(s.Repo, file), noSpace(err))
	}
	return path, nil
}

// noSpace says what to do about a full disk.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return hint.Errorf("make room, or let HF_HUB_CACHE name a folder on another disk", "the disk of the cache is full: %w", err)
	}
	return err
}

// remoteFile is what the hub says of a file.
type remoteFile struct {
	etag string
	size int64
}

// address is where the hub gives a file.
func (s *Snapshot) address(file string) string {
	var parts []string
	for p := range strings.SplitSeq(file, "/") {
		parts = append(parts, url.PathEscape(p))
	}
	return fmt.Sprintf("%s/%s/resolve/%s/%s", s.client.Endpoint, s.Repo.page(), s.Commit, strings.Join(parts, "/"))
}

// look asks for name and size of a file. Large files are given by another host: the hub's own answer, not the one it
// redirects to, has the hash.
func (s *Snapshot) look(ctx context.Context, file string) (f remoteFile, err error) {
	c := s.client
	direct := *c
	direct.http = &http.Client{CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Host == via[0].URL.Host && len(via) < 10 { // renamed repositories
			return nil
		}
		return http.ErrUseLastResponse
	}}
	err = c.retry.Copy(ctx, io.Discard, func(ctx context.Context, _ int64) (io.ReadCloser, error) {
		res, err := direct.do(ctx, s.Repo, file, http.MethodHead, s.address(file), nil)
		if err != nil {
			return nil, err
		}
		etag := res.Header.Get("X-Linked-Etag")
		size := res.Header.Get("X-Linked-Size")
		if etag == "" {
			etag = res.Header.Get("ETag")
		}
		if size == "" {
			size = res.Header.Get("Content-Length")
		}
		f.etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
		f.size, err = strconv.ParseInt(size, 10, 64)
		if err != nil || f.etag == "" || strings.ContainsAny(f.etag, `/\`) || strings.HasPrefix(f.etag, ".") {
			err = remote.Permanent{Err: fmt.Errorf("expected size and entity tag of the file, found %q and %q", size, etag)}
		}
		return res.Body, err
	}, 0)
	return f, err
}

// blob downloads a file's content, behind what an earlier try has left, and checks it.
func (s *Snapshot) blob(ctx context.Context, file string) (string, error) {
	f, err := s.look(ctx, file)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.client.folder(s.Repo), "blobs")
	path := filepath.Join(dir, f.etag)
	if info, err := os.Stat(path); err == nil && info.Size() == f.size {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(s.client.Cache, ".locks", filepath.Base(s.client.folder(s.Repo)), f.etag+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if info, err := os.Stat(path); err == nil && info.Size() == f.size { // another process was quicker
		return path, nil
	}
	out, err := os.OpenFile(path+".incomplete", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer out.Close()
	if err := s.download(ctx, file, f, out); err != nil {
		if errors.Is(err, syscall.ENOSPC) { // half a file would keep the disk full
			os.Remove(out.Name())
		}
		return "", err
	}
	if err := verify(out, f); err != nil {
		os.Remove(out.Name())
		return "", err
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(out.Name(), path)
}

func (s *Snapshot) download(ctx context.Context, file string, f remoteFile, out *os.File) error {
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have > f.size {
		if err := out.Truncate(0); err != nil {
			return err
		}
		if have, err = out.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if r := s.client.Report; r != nil {
		r(fmt.Sprintf("downloading %s: %d bytes", where(s.Repo, file), f.size-have))
	}
	return s.client.retry.Copy(ctx, out, func(ctx context.Context, done int64) (io.ReadCloser, error) {
		h := http.Header{}
		from := have + done
		if from > 0 {
			h.Set("Range", fmt.Sprintf("bytes=%d-", from))
		}
		res, err := s.client.do(ctx, s.Repo, file, http.MethodGet, s.address(file), h)
		if err != nil {
			return nil, err
		}
		if from > 0 && res.StatusCode != http.StatusPartialContent { // it begins at the begin
			if _, err := io.CopyN(io.Discard, res.Body, from); err != nil {
				res.Body.Close()
				return nil, err
			}
		}
		return res.Body, nil
	}, f.size-have)
}

// verify compares a file with the hash that its entity tag is: SHA-256, or git's SHA-1 of "blob <size>\0" and the content.
func verify(file *os.File, f remoteFile) error {
	var h hash.Hash
	switch {
	case isHex(f.etag, 64):
		h = sha256.New()
	case isHex(f.etag, 40):
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.size)
	default:
		return nil // a hub of another kind
	}
	if _, err := io.Copy(h, io.NewSectionReader(file, 0, f.size)); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.etag {
		return hint.Errorf("try again; nothing of it was kept", "what came is damaged: expected hash %s, found %s", f.etag, got)
	}
	return nil
}

// link gives a blob its name in a snapshot: by a relative link, or a copy where the system makes no links.
func link(blob, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(path), blob)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, path); err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	in, err := os.Open(blob)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Commit()
}
