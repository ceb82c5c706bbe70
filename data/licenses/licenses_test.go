package licenses

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var built = sync.OnceValues(Build)

func build(t testing.TB) *Set {
	t.Helper()
	s, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rowsHash is the SHA-256 of all rows. It changes only together with Version, because caches are found by that.
const rowsHash = "8b4d9f0f6b556506637b68a162d1cb021d1dfc5e08d4a485236a7d507909e327"

func TestRows(t *testing.T) {
	s := build(t)
	h := sha256.New()
	clusters := map[int]int{}
	for i, rows := range [][]Row{s.Train, s.Valid, s.Test} {
		for _, r := range rows {
			fmt.Fprintf(h, "%q %q %q\n", r.Excerpt, r.Label, r.SPDX)
			if w := len(strings.Fields(r.Excerpt)); w < minWords || w > maxWords {
				t.Errorf("%d words: %q", w, r.Excerpt)
			}
			if r.Cluster < 0 {
				continue
			}
			if side, ok := clusters[r.Cluster]; ok && side != i {
				t.Errorf("cluster %d is on two sides of the split", r.Cluster)
			}
			clusters[r.Cluster] = i
		}
	}
	fmt.Fprintf(h, "%q", s.Text)
	if got := hex.EncodeToString(h.Sum(nil)); got != rowsHash {
		t.Errorf("rows hash to %s, want %s: raise Version when they are meant to change", got, rowsHash)
	}
	c := s.Counts
	t.Logf("%+v", c)
	if c.Labels < 30 || c.Train < 1500 || c.Test < 200 || c.MajorityShare > 0.2 {
		t.Errorf("%d labels, %d train and %d test rows, %.3f of them %s", c.Labels, c.Train, c.Test, c.MajorityShare, c.Majority)
	}
}

// TestHeldOut looks for text of the held-out sides in train and in the running text.
func TestHeldOut(t *testing.T) {
	s := build(t)
	text := shingles{}
	for _, d := range s.Text {
		for p := range strings.SplitSeq(d, "\n\n") {
			for _, x := range sentences(strings.TrimSpace(p)) {
				text.add([]excerpt{{sh: shinglesOf(words(x.text))}})
			}
		}
	}
	var train [][]uint64
	for _, r := range s.Train {
		train = append(train, shinglesOf(words(r.Excerpt)))
	}
	for _, rows := range [][]Row{s.Valid, s.Test} {
		for _, r := range rows {
			// sentences too short for a shingle are equal in many licences
			if share := text.share(excerpt{sh: shinglesOf(words(r.Excerpt))}); share > 0 {
				t.Errorf("%.2f of %q is in the running text", share, r.Excerpt)
			}
			mine := shinglesOf(words(r.Excerpt))
			for i, other := range train {
				if n := float64(common(mine, other)); n/float64(len(other)) > leak || n/float64(len(mine)) >= similar {
					t.Errorf("%q and %q share %v shingles", r.Excerpt, s.Train[i].Excerpt, n)
				}
			}
		}
	}
}

// TestFamilies checks that a label is the family of every identifier beside it.
func TestFamilies(t *testing.T) {
	for spdx, want := range map[string]string{"GPL-2.0-with-bison-exception": "GPL", "AGPL-3.0": "GPL", "CC-BY-NC-SA-4.0": "CC-BY", "CC0-1.0": "CC0",
		"CERN-OHL-v1.2": "CERN-OHL", "MPL-2.0": "MPL", "Xcode": "Xcode", "BSD-3-Clause": "BSD"} {
		if got := family(spdx); got != want {
			t.Errorf("%s is of family %s, want %s", spdx, got, want)
		}
	}
	s := build(t)
	for _, r := range slices.Concat(s.Train, s.Valid, s.Test) {
		for _, id := range r.SPDX {
			if family(id) != r.Label {
				t.Errorf("%s stands beside %s", id, r.Label)
			}
		}
	}
}

func TestFiles(t *testing.T) {
	cache := t.TempDir()
	dir, err := Files(cache)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(dir, TrainFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, TestFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Files(cache); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(dir, TrainFile))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("written twice, the files differ (%v)", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("the cache holds %v", left)
	}
}

// TestLearnable compares a linear classifier on word frequencies with always giving the most frequent label: the task must be
// neither hopeless nor trivial.
func TestLearnable(t *testing.T) {
	s := build(t)
	valid, test := nearestCentroid(s.Train, s.Valid), nearestCentroid(s.Train, s.Test)
	t.Logf("nearest centroid: valid %.3f, test %.3f; always %s: %.3f", valid, test, s.Counts.Majority, s.Counts.MajorityShare)
	if test < 0.6 || test > 0.9 {
		t.Errorf("a linear classifier is right in %.3f of test", test)
	}
}

// nearestCentroid is the share of rows whose label is that of the mean tf-idf vector that is nearest by angle.
func nearestCentroid(train, test []Row) float64 {
	df := map[string]float64{}
	for _, r := range train {
		w := words(r.Excerpt)
		slices.Sort(w)
		for _, x := range slices.Compact(w) {
			df[x]++
		}
	}
	vector := func(r Row) map[string]float64 {
		v := map[string]float64{}
		for _, w := range words(r.Excerpt) {
			v[w]++
		}
		for w, n := range v {
			v[w] = 0
			if df[w] > 0 {
				v[w] = (1 + math.Log(n)) * math.Log(float64(len(train))/df[w])
			}
		}
		return unit(v)
	}
	centers := map[string]map[string]float64{}
	for _, r := range train {
		if centers[r.Label] == nil {
			centers[r.Label] = map[string]float64{}
		}
		for w, x := range vector(r) {
			centers[r.Label][w] += x
		}
	}
	for _, c := range centers {
		unit(c)
	}
	right := 0
	for _, r := range test {
		v := vector(r)
		best, label := -1.0, ""
		for l, c := range centers {
			dot := 0.0
			for w, x := range v {
				dot += x * c[w]
			}
			if dot > best {
				best, label = dot, l
			}
		}
		if label == r.Label {
			right++
		}
	}
	return float64(right) / float64(len(test))
}

func unit(v map[string]float64) map[string]float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	for w := range v {
		v[w] /= math.Sqrt(sum)
	}
	return v
}
