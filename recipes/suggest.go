package recipes

import (
	"maps"
	"reflect"
	"slices"

	"tune/internal/hint"
)

// suggest finds the key that was probably meant: one of the same section that is spelled alike, else one of that very
// name in another section. Sections are compared with their dotted path.
func suggest(key string, section reflect.Type, path string, root reflect.Type) string {
	if near := hint.Closest(key, slices.Collect(maps.Keys(keysOf(section)))); near != "" {
		return near
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
	for _, k := range orderedKeys(t) {
		visit(path, k.name)
		f := t.FieldByIndex(k.index).Type
		if f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct {
			walkKeys(f, join(path, k.name), visit)
		}
	}
}
