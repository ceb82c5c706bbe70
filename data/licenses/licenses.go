// Package licenses makes a small data set of real legal text out of the licence texts that the Go module
// github.com/google/licenseclassifier/v2 embeds: an excerpt of 60 to 160 words is to be told apart by the family of
// licences it comes from, named by its SPDX identifier without version.
//
// How it is made (Build):
//
//  1. Each text is cut at ends of sentences, at places that depend on the sentence itself, so that two versions of a
//     licence are cut alike (cut.go).
//  2. An excerpt of whose 8-word shingles 30 % or more also occur in a text of another family is ambiguous and dropped.
//  3. Excerpts that share half of the shingles of the shorter one are near-duplicates and form a cluster. A hash of the
//     cluster's text decides whether it is train, valid or test; clusters of more than maxHeld excerpts, the boilerplate
//     of many versions, are always train. A held-out cluster gives one excerpt.
//  4. Train takes the excerpts of further cuts of the same texts, too, and then loses every excerpt of which more than
//     10 % of the shingles occur in any held-out cluster. Valid loses those that overlap with test in the same way.
//  5. Families with fewer than minClusters clusters are left out, and no family has more than maxTrain or maxHeldOut rows.
//
// Text is what is left of all texts, also of families that have no label, when every paragraph that was seen before and
// every sentence that shares a shingle with a held-out excerpt is taken out: a model trained on it has not seen those.
package licenses

import (
	"cmp"
	_ "embed"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licenseclassifier/v2/assets"

	"tune/internal/rng"
)

// Version names the way the set is made. It changes whenever a row does.
const Version = "v1"

// Instruction stands before the excerpt in the user's turn.
const Instruction = "Which license is this text from? Answer with its identifier."

const (
	ambiguous   = 0.3 // share of shingles in other families from which on an excerpt is dropped
	similar     = 0.5 // share of the shorter one's shingles that makes near-duplicates
	leak        = 0.1 // share of shingles in held-out clusters that a train excerpt may have
	testShare   = 0.22
	validShare  = 0.10
	maxHeld     = 6
	minClusters = 7
	maxTrain    = 200
	maxHeldOut  = 30
	trainCuts   = 5
)

// files are the paths of the embedded texts, category/identifier/file, which the module does not list.
//
//go:embed files.txt
var files string

// Row is one excerpt.
type Row struct {
	Excerpt string
	Label   string   // family
	SPDX    []string // identifiers with version of the texts it occurs in
	Cluster int      // near-duplicates have the same number
}

// Counts says what became of the texts.
type Counts struct {
	Files, Licenses         int
	Excerpts                int // different ones, in the first cut
	Ambiguous               int // of them: also in other families
	Clusters                int
	Labels                  int
	Train, Valid, Test      int // rows
	Leaking                 int // train and valid excerpts dropped for overlap with held-out ones
	TextDocuments           int
	TextWords, TrainWords   int
	TextSentencesHeldOut    int
	Majority                string  // most frequent label of test
	MajorityShare           float64 // right answers of always giving it
	LargestCluster          int
	TrainPerLabelMin        int
	TrainPerLabelMax        int
	OverlapTrainTestLargest float64 // largest share of a test excerpt's shingles that one train excerpt holds
}

// String is one sentence for each loss and split.
func (c Counts) String() string {
	return fmt.Sprintf("%d texts of %d licences gave %d different excerpts; %d dropped because they occur under several labels; "+
		"the others form %d clusters of near-duplicates (half of the 8-word shingles of the shorter one), each kept on one side; "+
		"%d labels; %d train, %d valid, %d test excerpts; %d dropped for sharing more than a tenth of their shingles with held-out ones; "+
		"most frequent label of test: %s, %.1f %%",
		c.Files, c.Licenses, c.Excerpts, c.Ambiguous, c.Clusters, c.Labels, c.Train, c.Valid, c.Test, c.Leaking, c.Majority, 100*c.MajorityShare)
}

// Set is the data set.
type Set struct {
	Train, Valid, Test []Row
	Text               []string // documents for training on running text, of the train side alone
	Counts             Counts
}

// license is one text of the module.
type license struct {
	spdx, family string
	labelled     bool // of category License
	text         string
}

// families joins lineages: licences that are versions or derivatives of one another and share most of their text.
var families = map[string]string{
	"LGPL": "GPL", "AGPL": "GPL", "SSPL": "GPL", "LGPLLR": "GPL", "NPL": "MPL", "AFL": "OSL", "CPL": "EPL", "IPL": "EPL", "LPL": "EPL",
	"CERN-OHL-WR": "CERN-OHL", "Unicode-DFS": "Unicode", "Unicode-TOU": "Unicode", "ImageMagick": "Apache",
}

var version = regexp.MustCompile(`-v?[0-9].*|-with-.*`)

// family is the label of an SPDX identifier.
func family(spdx string) string {
	if strings.HasPrefix(spdx, "CC-BY-") {
		return "CC-BY"
	}
	f := version.ReplaceAllString(spdx, "")
	return cmp.Or(families[f], f)
}

func load() ([]license, error) {
	var ls []license
	for path := range strings.Lines(files) {
		path = strings.TrimSpace(path)
		part := strings.Split(path, "/")
		if len(part) != 3 {
			return nil, fmt.Errorf("licenses: expected category/identifier/file, found %q", path)
		}
		b, err := assets.ReadLicenseFile(path)
		if err != nil {
			return nil, fmt.Errorf("licenses: %w", err)
		}
		ls = append(ls, license{part[1], family(part[1]), part[0] == "License", plain(string(b))})
	}
	return ls, nil
}

// excerpt is a Row in the making.
type excerpt struct {
	Row
	words []string
	sh    []uint64 // sorted shingles
}

func (e *excerpt) key() string { return strings.Join(e.words, " ") }

// hash is a number in [0, 1) that depends on the words alone.
func (e *excerpt) hash() float64 { return rng.FromKey(hashText(e.key())).Float64(0) }

func hashText(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// Build makes the set. It takes about a second and depends on nothing but the module's texts.
func Build() (*Set, error) {
	ls, err := load()
	if err != nil {
		return nil, err
	}
	s := &Set{}
	owners := familiesOf(ls)
	base := cutAll(ls, 0)
	s.Counts.Files, s.Counts.Licenses, s.Counts.Excerpts = len(ls), countLicenses(ls), len(base)
	base = slices.DeleteFunc(base, func(e excerpt) bool { return owners.shared(e) >= ambiguous })
	s.Counts.Ambiguous = s.Counts.Excerpts - len(base)
	clusters := clusterize(base)
	s.Counts.Clusters = len(clusters)
	clusters = frequentLabels(clusters)

	var train []excerpt
	heldTest, heldValid := shingles{}, shingles{}
	var test, valid []excerpt
	for id, c := range clusters {
		s.Counts.LargestCluster = max(s.Counts.LargestCluster, len(c))
		first := slices.MinFunc(c, func(a, b excerpt) int { return cmp.Or(cmp.Compare(a.hash(), b.hash()), cmp.Compare(a.key(), b.key())) })
		for i := range c {
			c[i].Cluster = id
		}
		first.Cluster = id
		x := first.hash()
		switch {
		case len(c) > maxHeld || x >= testShare+validShare:
			train = append(train, c...)
		case x < testShare:
			test = append(test, first)
			heldTest.add(c)
		default:
			valid = append(valid, first)
			heldValid.add(c)
		}
	}
	before := len(valid)
	valid = slices.DeleteFunc(valid, func(e excerpt) bool { return heldTest.share(e) > leak })
	s.Counts.Leaking = before - len(valid)

	heldOut := shingles{}
	heldOut.merge(heldTest)
	heldOut.merge(heldValid)
	labels := map[string]bool{}
	for _, c := range clusters {
		labels[c[0].Label] = true
	}
	for cut := 1; cut < trainCuts; cut++ {
		for _, e := range cutAll(ls, cut) {
			if labels[e.Label] && owners.shared(e) < ambiguous {
				e.Cluster = -1
				train = append(train, e)
			}
		}
	}
	train = unique(train)
	before = len(train)
	train = slices.DeleteFunc(train, func(e excerpt) bool { return heldOut.share(e) > leak })
	s.Counts.Leaking += before - len(train)

	s.Train, s.Valid, s.Test = finish(train, maxTrain), finish(valid, maxHeldOut), finish(test, maxHeldOut)
	s.Text = s.runningText(ls, heldOut)
	s.count(train, test)
	return s, nil
}

func countLicenses(ls []license) int {
	names := map[string]bool{}
	for _, l := range ls {
		if l.labelled {
			names[l.spdx] = true
		}
	}
	return len(names)
}

// cutAll cuts all labelled texts and joins equal excerpts.
func cutAll(ls []license, salt int) []excerpt {
	var out []excerpt
	for _, l := range ls {
		if !l.labelled {
			continue
		}
		for _, text := range cut(l.text, salt) {
			w := words(text)
			out = append(out, excerpt{Row{Excerpt: text, Label: l.family, SPDX: []string{l.spdx}}, w, shinglesOf(w)})
		}
	}
	return unique(out)
}

// unique joins excerpts of the same words; an excerpt of several families keeps the first, and shared() finds it out.
func unique(es []excerpt) []excerpt {
	at := map[string]int{}
	var out []excerpt
	for _, e := range es {
		k := e.key()
		if i, ok := at[k]; ok {
			for _, id := range e.SPDX {
				if !slices.Contains(out[i].SPDX, id) {
					out[i].SPDX = append(out[i].SPDX, id)
				}
			}
			continue
		}
		at[k] = len(out)
		out = append(out, e)
	}
	return out
}

// frequentLabels drops the clusters of families that have too few of them.
func frequentLabels(clusters [][]excerpt) [][]excerpt {
	n := map[string]int{}
	for _, c := range clusters {
		n[c[0].Label]++
	}
	return slices.DeleteFunc(clusters, func(c []excerpt) bool { return n[c[0].Label] < minClusters })
}

// finish takes at most most rows of each label, those of the smallest hash, and puts rows in an order that mixes the labels.
func finish(es []excerpt, most int) []Row {
	slices.SortFunc(es, func(a, b excerpt) int { return cmp.Or(cmp.Compare(a.hash(), b.hash()), cmp.Compare(a.key(), b.key())) })
	n := map[string]int{}
	var rows []Row
	for _, e := range es {
		if n[e.Label]++; n[e.Label] <= most {
			slices.Sort(e.SPDX)
			rows = append(rows, e.Row)
		}
	}
	return rows
}

func (s *Set) count(train, test []excerpt) {
	c := &s.Counts
	c.Train, c.Valid, c.Test, c.TextDocuments = len(s.Train), len(s.Valid), len(s.Test), len(s.Text)
	per := map[string]int{}
	for _, r := range s.Train {
		per[r.Label]++
		c.TrainWords += len(strings.Fields(r.Excerpt))
	}
	c.Labels, c.TrainPerLabelMin = len(per), len(s.Train)
	for _, n := range per {
		c.TrainPerLabelMin, c.TrainPerLabelMax = min(c.TrainPerLabelMin, n), max(c.TrainPerLabelMax, n)
	}
	for _, t := range s.Text {
		c.TextWords += len(strings.Fields(t))
	}
	right := map[string]int{}
	for _, r := range s.Test {
		right[r.Label]++
		if share := float64(right[r.Label]) / float64(len(s.Test)); share > c.MajorityShare || share == c.MajorityShare && r.Label < c.Majority {
			c.Majority, c.MajorityShare = r.Label, share
		}
	}
	for _, a := range test {
		for _, b := range train {
			c.OverlapTrainTestLargest = max(c.OverlapTrainTestLargest, float64(common(a.sh, b.sh))/float64(len(a.sh)))
		}
	}
}
