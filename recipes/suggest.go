package recipes

import (
	"reflect"
	"strings"
)

// suggest finds the key that was probably meant: one of the same section that is spelled alike, else one of that very
// name in another section. Sections are compared with their dotted path.
func suggest(key string, section reflect.Type, path string, root reflect.Type) string {
	best, least := "", len(key)/3+1
	for name := range keysOf(section) {
		if d := distance(strings.ToLower(key), name); d < least || d == least && best != "" && name < best {
			best, least = name, d
		}
	}
	if best != "" {
		return best
	}
	if s, ok := synonyms[key]; ok {
		return s
	}
	elsewhere := ""
	walkKeys(root, "", func(at, name string) {
		if name == key && at != path && elsewhere == "" {
			elsewhere = join(at, name)
		}
	})
	return elsewhere
}

// synonyms are the words of other trainers.
var synonyms = map[string]string{
	"learning_rate": "train.lr", "num_train_epochs": "train.epochs", "max_steps": "train.steps", "lora_r": "lora.rank", "r": "lora.rank",
	"lora_alpha": "lora.alpha", "lora_dropout": "lora.dropout", "warmup_steps": "train.schedule.warmup", "warmup_ratio": "train.schedule.warmup",
	"lr_scheduler_type": "train.schedule.name", "max_seq_length": "data.seq", "max_length": "data.seq", "sequence_len": "data.seq",
	"batch_size": "train.batch", "micro_batch_size": "train.micro_tokens", "gradient_accumulation_steps": "train.batch",
	"max_grad_norm": "train.clip", "model": "base", "model_name_or_path": "base", "base_model": "base", "output_dir": "output",
	"eval_steps": "eval.every", "save_steps": "train.save_every", "logging_steps": "train.log_every", "dataset": "data.train", "datasets": "data.train",
}

// walkKeys visits every key of a struct and of the structs in it.
func walkKeys(t reflect.Type, path string, visit func(path, name string)) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		visit(path, name)
		f := t.Field(i).Type
		if f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct {
			walkKeys(f, join(path, name), visit)
		}
	}
}

// distance is the number of letters to insert, delete, replace or swap with the neighbour to turn a into b.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, now := rows[i%3], rows[(i+1)%3], rows[(i+2)%3]
		now[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			now[j+1] = min(last[j]+cost, last[j+1]+1, now[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				now[j+1] = min(now[j+1], before[j-1]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
