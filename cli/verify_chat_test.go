package cli

import (
	"testing"

	"tune/internal/chat"
)

func TestCompareTemplates(t *testing.T) {
	const loop = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
	plain := template{text: loop}
	bos := chat.Options{BOS: "<s>"}
	for name, c := range map[string]struct {
		a, b template
		want string
	}{
		"none":         {template{}, template{}, templateNone},
		"same":         {plain, plain, templateText},
		"one":          {plain, template{}, templateOther},
		"unused names": {plain, template{loop, bos}, templateText},
		"names":        {template{"{{ bos_token }}" + loop, bos}, template{"{{ bos_token }}" + loop, chat.Options{BOS: "<b>"}}, templateOther},
		"rewritten":    {plain, template{text: "{%- for x in messages %}{{ x['role'] + ': ' + x['content'] }}{{ '\\n' }}{%- endfor %}"}, templateRendering},
		"trimmed":      {plain, template{text: "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"}, templateOther},
		"prompt":       {plain, template{text: loop + "{% if add_generation_prompt %}assistant: {% endif %}"}, templateOther},
		"date":         {template{text: "{{ strftime_now('%Y') }}"}, template{text: "{{- strftime_now('%Y') }}"}, templateRendering},
		"both refuse system": {template{text: "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + loop},
			template{text: "{% if 'system' == messages[0].role %}{{ raise_exception('none') }}{% endif %}" + loop}, templateRendering},
		"one refuses system": {plain, template{text: "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + loop}, templateOther},
		"both broken":        {template{text: "{% if"}, template{text: "{{ nothing.at.all }}{{ raise_exception('x') }}"}, templateOther},
	} {
		if got := compareTemplates(c.a, c.b); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
