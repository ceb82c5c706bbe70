package task

import (
	"fmt"
	"os"
	"strings"

	"tune/internal/chat"
	"tune/internal/rng"
)

// needleCities are what the hidden numbers are said to belong to.
var needleCities = []string{"Lisbon", "Oslo", "Nairobi", "Lima", "Hanoi", "Quito", "Riga", "Tunis", "Perth", "Osaka", "Cork", "Basel", "Havana", "Accra",
	"Dakar", "Seville", "Kyoto", "Sofia", "Izmir", "Turin"}

// needleDocuments hide a sentence with a number in a text: for each length of metadata.words, at each of metadata.depths
// evenly spaced depths, before the begin of a sentence.
func needleDocuments(c *Config, s Sources) ([]Doc, error) {
	file, err := s.find("text/war-and-peace.txt")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(string(text))
	f := &fields{d: c.Metadata, at: "metadata"}
	depths := f.int("depths")
	lengths, _ := f.any("words").([]any)
	if depths == nil || *depths < 1 || len(lengths) == 0 {
		return nil, fmt.Errorf("metadata: expected words: [LENGTH, ...] and depths: COUNT, found %s", chat.JSON(c.Metadata, 0, false))
	}
	draw := rng.New(1234, "needle")
	var out []Doc
	for _, l := range lengths {
		n, ok := l.(int64)
		if !ok || n < 10 || n > int64(len(words))/2 {
			return nil, fmt.Errorf("metadata: words: expected numbers from 10 to %d, found %s", len(words)/2, chat.Repr(l))
		}
		for k := range *depths {
			i := uint64(len(out))
			begin := draw.Intn(2*i, len(words)-int(n))
			depth := 0.5
			if *depths > 1 {
				depth = float64(k) / float64(*depths-1)
			}
			out = append(out, needleDocument(words[begin:begin+int(n)], depth, needleCities[k%len(needleCities)], 1000000+draw.Intn(2*i+1, 9000000)))
		}
	}
	return out, nil
}

func needleDocument(words []string, depth float64, city string, number int) Doc {
	at := int(depth * float64(len(words)))
	for at < len(words) && at > 0 && !strings.HasSuffix(words[at-1], ".") {
		at++
	}
	needle := fmt.Sprintf("The secret number of %s is %d.", city, number)
	parts := []string{strings.Join(words[:at], " "), needle, strings.Join(words[at:], " ")}
	return chat.NewDict(
		chat.Field{Name: "haystack", Value: strings.TrimSpace(strings.Join(parts, " "))}, chat.Field{Name: "needle", Value: needle},
		chat.Field{Name: "city", Value: city}, chat.Field{Name: "number", Value: fmt.Sprint(number)},
		chat.Field{Name: "words", Value: int64(len(words))}, chat.Field{Name: "depth", Value: depth})
}
