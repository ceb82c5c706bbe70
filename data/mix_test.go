package data

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// lettered is a file of n rows of one token each, the letter's.
func lettered(t testing.TB, letter byte, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"input_ids\":[%d,%d],\"n\":%d}\n", letter, i%250, i)
	}
	return write(t, string(letter)+".jsonl", b.String())
}

// letters counts the rows of an epoch by letter.
func letters(t testing.TB, c Config) (map[byte]int, Stats) {
	t.Helper()
	s := open(t, c, "train")
	count := map[byte]int{}
	for _, p := range epoch(t, s) {
		for i, id := range p.IDs {
			if p.Pos[i] == 0 {
				count[byte(id)]++
			}
		}
	}
	return count, s.Stats()
}

func TestMix(t *testing.T) {
	c := Default()
	c.Seq = 64
	a, b := lettered(t, 'a', 2000), lettered(t, 'b', 500)
	c.Train = Sources{{Path: a, Weight: 1}, {Path: b, Weight: 1}}
	for _, x := range []struct {
		mix, until string
		weight     float64 // of b
		check      func(n map[byte]int) bool
		want       string
	}{
		{"passes", "all", 2, func(n map[byte]int) bool { return n['a'] == 2000 && n['b'] == 1000 }, "2000 and 1000"},
		// 2,000 draws of a at one half: b about 2,000, standard deviation 63
		{"weights", "all", 1, func(n map[byte]int) bool { return n['a'] == 2000 && math.Abs(float64(n['b']-2000)) < 250 }, "2000 and about 2000"},
		{"weights", "first", 1, func(n map[byte]int) bool { return n['b'] == 500 && math.Abs(float64(n['a']-500)) < 130 }, "about 500 and 500"},
		{"weights", "first", 3, func(n map[byte]int) bool { return n['b'] == 500 && math.Abs(float64(n['a']-167)) < 60 }, "about 167 and 500"},
	} {
		c.Mix, c.Until, c.Train[1].Weight = x.mix, x.until, x.weight
		for _, order := range orders {
			c.Order = order
			if n, _ := letters(t, c); !x.check(n) {
				t.Errorf("%s until %s, weight %v, order %s: %d and %d rows, want %s", x.mix, x.until, x.weight, order, n['a'], n['b'], x.want)
			}
		}
	}
	c.Mix, c.Until, c.Train[1].Weight, c.Order = "temperature", "first", 1, "shuffled"
	share := map[float64]float64{}
	for _, temperature := range []float64{1, 2, 1e9} {
		c.Temperature = temperature
		n, _ := letters(t, c)
		share[temperature] = float64(n['b']) / float64(n['a']+n['b'])
	}
	if !(share[1] < share[2] && share[2] < share[1e9] && math.Abs(share[1]-0.2) < 0.06 && math.Abs(share[1e9]-0.5) < 0.06) {
		t.Errorf("share of the smaller source by temperature: %v", share)
	}
}

func TestNothingLeftOfASource(t *testing.T) {
	c := Default()
	c.Mix, c.Train = "weights", Sources{{Path: lettered(t, 'a', 20)}, {Path: lettered(t, 'b', 20), Filter: "n > 100"}}
	if _, err := nextOf(c, t); err == nil || !strings.Contains(err.Error(), "b.jsonl: expected rows, found none that where and filter keep") {
		t.Errorf("got %v", err)
	}
}

func TestFilter(t *testing.T) {
	rows := `{"text":"the cat sat on the mat","lang":"en","n":1}
{"text":"кот","lang":"ru","n":2}
{"text":"ab","lang":"en","n":3}
{"text":"the dog","lang":null,"n":4}
`
	for filter, want := range map[string]string{
		`chars(text) > 3`:                             "1 4",
		`words(text) >= 2 && lang == "en"`:            "1",
		`script(text) == "Cyrillic"`:                  "2",
		`script(text) in ["Latin"] and n != 3`:        "1 4",
		`text matches "^the (cat|dog)"`:               "1 4",
		`lang == nil or n in 2..3`:                    "2 3 4",
		`not (text contains "t")`:                     "2 3",
		`any(split(text, " "), # == "dog") || n == 3`: "3 4",
	} {
		c := Default()
		c.Train = Sources{{Path: write(t, "a.jsonl", rows), Filter: filter}}
		s := open(t, c, "train")
		var got []string
		if err := s.Scan(t.Context(), func(x Scanned) bool {
			got = append(got, x.Example.Key[strings.LastIndex(x.Example.Key, ":")+1:])
			return true
		}); err != nil {
			t.Errorf("%s: %v", filter, err)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: rows %v, want %s", filter, got, want)
		}
		epoch(t, s)
		if st := s.Stats(); st.Filtered != 4-len(got) || st.Rows != len(got) {
			t.Errorf("%s: %s", filter, st.Line())
		}
	}
	for filter, want := range map[string]string{
		`chars(text >`:   "train[0].filter: expected an expression, found \"chars(text >\": column ",
		`n + 1`:          `a.jsonl:1: filter "n + 1": column 1: `,
		`chars()`:        "not enough arguments to call chars",
		`lang > 3`:       `a.jsonl:1: filter "lang > 3": column 6: `,
		`colour == "re"`: "",
	} {
		c := Default()
		c.Train = Sources{{Path: write(t, "a.jsonl", rows), Filter: filter}}
		_, err := nextOf(c, t)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", filter, err, want)
		}
	}
	c := Default()
	c.Train = Sources{{Path: write(t, "a.csv", "text,n\nx,1\n"), Filter: `colour == "red"`}}
	if _, err := nextOf(c, t); err == nil || !strings.Contains(err.Error(), "filter: expected a column colour, found text, n") {
		t.Errorf("got %v", err)
	}
}

func TestDedup(t *testing.T) {
	// 90 words; copies differ in 1 or in 30 of them
	text := func(seed, changed int) string {
		var w []string
		for i := range 90 {
			w = append(w, fmt.Sprint("w", i*7+seed*1000))
		}
		for i := range changed {
			w[(i*3+1)%90] = fmt.Sprint("new", i)
		}
		return strings.Join(w, " ")
	}
	var rows strings.Builder
	for i := range 40 {
		fmt.Fprintf(&rows, "{\"text\":%q,\"id\":%d}\n", text(i, 0), i)
	}
	fmt.Fprintf(&rows, "{\"text\":%q}\n{\"text\":%q}\n{\"text\":%q}\n", text(3, 0), text(5, 1), text(7, 30))
	fmt.Fprintf(&rows, "{\"text\":%q}\n", strings.ToUpper(text(9, 0))+" !")
	path := write(t, "a.jsonl", rows.String())
	for kind, want := range map[string][]int{"none": {}, "exact": {41}, "minhash": {41, 42, 44}} {
		c := Default()
		c.Train, c.Dedup = Sources{{Path: path}, {Path: path, Limit: 1}}, kind
		s := open(t, c, "train")
		var lines []int
		if err := s.Scan(t.Context(), func(x Scanned) bool {
			var n int
			fmt.Sscan(x.Example.Key[strings.LastIndex(x.Example.Key, ":")+1:], &n)
			lines = append(lines, n)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		var gone []int
		for i := range 44 {
			if !slices.Contains(lines, i+1) {
				gone = append(gone, i+1)
			}
		}
		if !slices.Equal(gone, want) {
			t.Errorf("%s: rows %v are left out, want %v", kind, gone, want)
		}
		epoch(t, s)
		if n := len(want); kind != "none" && s.Stats().Duplicates != n+1 { // and the row of the second source
			t.Errorf("%s: %s", kind, s.Stats().Line())
		}
	}
}

func TestValidBy(t *testing.T) {
	var rows strings.Builder
	for i := range 600 {
		fmt.Fprintf(&rows, "{\"text\":\"row %d\",\"contract\":\"c%d\"}\n", i, i%60)
	}
	c := Default()
	c.Train, c.ValidShare, c.ValidBy = Sources{{Path: write(t, "a.jsonl", rows.String())}}, 0.3, "contract"
	side := map[int]string{}
	for _, split := range []string{"train", "valid"} {
		n := 0
		if err := open(t, c, split).Scan(t.Context(), func(x Scanned) bool {
			var line int
			fmt.Sscan(x.Example.Key[strings.LastIndex(x.Example.Key, ":")+1:], &line)
			if at := side[(line-1)%60]; at != "" && at != split {
				t.Fatalf("contract %d is in train and valid", (line-1)%60)
			}
			side[(line-1)%60] = split
			n++
			return true
		}); err != nil {
			t.Fatal(err)
		}
		t.Log(split, n)
	}
	if len(side) != 60 {
		t.Errorf("%d contracts, want 60", len(side))
	}
}

// countingBlob counts the bytes read.
type countingBlob struct {
	blob
	n int64
}

func (c *countingBlob) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.blob.ReadAt(p, at)
	c.n += int64(n)
	return n, err
}

// TestProjectionAndPruning counts the bytes that are read of a Parquet file: unused columns and row groups whose
// statistics exclude every row stay where they are.
func TestProjectionAndPruning(t *testing.T) {
	type r struct {
		Text  string `parquet:"text"`
		Split string `parquet:"split"`
		N     int64  `parquet:"n"`
		Blob  string `parquet:"blob"`
	}
	var rows []r
	for i := range 4000 {
		rows = append(rows, r{fmt.Sprint("text ", i), []string{"test", "train", "valid", "valid"}[i/1000], int64(i), strings.Repeat(fmt.Sprint(i), 500)})
	}
	text := parquetBytes(t, rows, parquet1000)
	for _, x := range []struct {
		where, filter string
		rows, pruned  int
	}{{"", "", 4000, 0}, {"split=train", "", 1000, 3}, {"", `split == "valid" && chars(text) > 1`, 2000, 2}, {"", `n == 2500`, 1, 3}, {"split!=train", "", 3000, 0}} {
		c := Default()
		c.Train = Sources{{Path: write(t, "a.parquet", text), Where: x.where, Filter: x.filter}}
		s := open(t, c, "train")
		p := s.sources[0].files[0].(*parquetFile)
		count := &countingBlob{blob: p.blob}
		p.blob = count
		n := 0
		if err := s.Scan(t.Context(), func(Scanned) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s%s: %d rows, %d of %d bytes read, %d row groups pruned", x.where, x.filter, n, count.n, len(text), s.Sources()[0].Pruned)
		if n != x.rows || s.Sources()[0].Pruned != x.pruned || count.n > int64(len(text))/20 {
			t.Errorf("%s%s: %d rows of %d, %d of %d bytes read, %d row groups pruned, want %d", x.where, x.filter, n, x.rows, count.n, len(text), s.Sources()[0].Pruned, x.pruned)
		}
	}
	c := Default()
	c.Train = Sources{{Path: write(t, "a.parquet", text), Limit: 1500}}
	if n := len(documentsOf(t, epoch(t, open(t, c, "train")), c.Seq)); n != 1500 {
		t.Errorf("limit 1500: %d rows", n)
	}
}
