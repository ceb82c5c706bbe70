// Package journal keeps every answer of a model on disk as it comes, so that a run that was killed goes on where it stopped and
// a second run asks nothing. Answers are found by what they depend on: the model's identity and the whole request. A changed
// model or task never finds an old answer.
package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"tune/eval/ask"
	"tune/internal/hint"
)

// Journal is a SQLite file with one row for each answer. Several runs may write to one at a time.
type Journal struct {
	path    string
	db      *sql.DB
	damaged int
}

// What marks a file as a journal, and the version of its rows.
const (
	application = 0x74756e65 // "tune"
	version     = 1
)

// Open opens or makes a journal. A file that is damaged or is no journal is an error; it is not touched.
func Open(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	// The write-ahead log keeps answers of a process that is killed; only a power cut can take the last ones.
	name := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	j := &Journal{path: path, db: db}
	if err := j.check(); err != nil {
		db.Close()
		return nil, hint.Errorf("delete the file: its answers will be asked for again", "%s: not a usable journal of answers: %w", path, err)
	}
	return j, nil
}

// check makes an empty file a journal and refuses what is not one.
func (j *Journal) check() error {
	var app, found, tables int
	for pragma, into := range map[string]*int{"SELECT count(*) FROM sqlite_schema": &tables, "PRAGMA application_id": &app, "PRAGMA user_version": &found} {
		if err := j.db.QueryRow(pragma).Scan(into); err != nil {
			return err
		}
	}
	if tables == 0 {
		_, err := j.db.Exec(fmt.Sprintf(`BEGIN IMMEDIATE;
			CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, sum INTEGER NOT NULL, answer BLOB NOT NULL) WITHOUT ROWID;
			PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT`, application, version))
		return err
	}
	if app != application || found != version {
		return fmt.Errorf("expected application %#x and version %d, found %#x and %d", application, version, app, found)
	}
	var state string
	if err := j.db.QueryRow("PRAGMA quick_check(1)").Scan(&state); err != nil {
		return err
	}
	if state != "ok" {
		return errors.New(state)
	}
	return nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.db.Close() }

// Damaged is how many answers were found changed on disk. They were asked for again.
func (j *Journal) Damaged() int { return j.damaged }

// Wrap is m, with answers from the journal where it has them.
func (j *Journal) Wrap(m ask.Model) ask.Model { return &journalled{m, j} }

type journalled struct {
	ask.Model
	j *Journal
}

// Answer answers what the journal knows, then asks the model for the rest, equal requests once.
func (w *journalled) Answer(ctx context.Context, requests []ask.Request, done func(i int, a ask.Answer) error) error {
	id := w.Identity()
	if id == "" {
		return hint.Errorf("run without a journal", "%s: the model has no identity to find its answers by", w.Name())
	}
	var asked []ask.Request
	var keys [][sha256.Size]byte
	var places [][]int // of each request that is asked
	at := map[[sha256.Size]byte]int{}
	for i := range requests {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := key(id, &requests[i])
		if n, ok := at[k]; ok {
			places[n] = append(places[n], i)
			continue
		}
		a, ok, err := w.j.find(k)
		if err != nil {
			return err
		}
		if ok {
			a.Cached = true
			if err := done(i, a); err != nil {
				return err
			}
			continue
		}
		at[k] = len(asked)
		asked, keys, places = append(asked, requests[i]), append(keys, k), append(places, []int{i})
	}
	if len(asked) == 0 {
		return nil
	}
	return w.Model.Answer(ctx, asked, func(n int, a ask.Answer) error {
		a, err := w.j.put(keys[n], a)
		if err != nil {
			return err
		}
		for _, i := range places[n] {
			if err := done(i, a); err != nil {
				return err
			}
		}
		return nil
	})
}

// key is a hash of everything an answer depends on. Strings are quoted, so that no two requests are written alike.
func key(identity string, r *ask.Request) (k [sha256.Size]byte) {
	var b bytes.Buffer
	g := &r.Generation
	fmt.Fprintf(&b, "%d %q %d %q %q\n", version, identity, r.Kind, r.Context, r.Continuation)
	fmt.Fprintf(&b, "%q %d %v %v %d %d\n", g.Until, g.MaxTokens, g.Temperature, g.TopP, g.TopK, g.Seed)
	for _, m := range r.Chat {
		fmt.Fprintf(&b, "%q %q\n", m.Role, m.Content)
	}
	return sha256.Sum256(b.Bytes())
}

// sum guards an answer against what SQLite does not notice: bytes that changed on disk.
func sum(k [sha256.Size]byte, answer []byte) int64 {
	h := sha256.Sum256(append(k[:], answer...))
	return int64(binary.LittleEndian.Uint64(h[:]))
}

func (j *Journal) find(k [sha256.Size]byte) (a ask.Answer, ok bool, err error) {
	var check int64
	var text []byte
	err = j.db.QueryRow("SELECT sum, answer FROM answers WHERE key = ?", k[:]).Scan(&check, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	if err != nil {
		return a, false, fmt.Errorf("%s: %w", j.path, err)
	}
	if check != sum(k, text) || json.Unmarshal(text, &a) != nil {
		j.damaged++
		return ask.Answer{}, false, nil
	}
	return a, true, nil
}

// put keeps an answer and returns it as a later run will find it: JSON knows no text that is not UTF-8.
func (j *Journal) put(k [sha256.Size]byte, a ask.Answer) (kept ask.Answer, err error) {
	text, err := json.Marshal(a)
	if err == nil {
		_, err = j.db.Exec("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", k[:], sum(k, text), text)
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("%s: %w", j.path, err)
	}
	return kept, nil
}
