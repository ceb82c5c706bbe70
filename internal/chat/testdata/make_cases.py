"""Writes cases.jsonl: templates and what Jinja, set up as chat templates expect it, makes of them.

Run with jinja2 3.1 installed: python make_cases.py. The templates are our own.
"""
import datetime
import json
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: datetime.datetime(2025, 7, 9, 8, 7, 6).strftime(f)

VARS = {
    "s": "Hello, World", "e": "", "u": "été 房子 👍", "lines": " a\n\n  b \nc\n", "quote": "it's \"so\"\\\n", "n": 7, "neg": -7, "f": 2.5, "big": 1e20, "small": 0.00001,
    "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "words": ["b", "A", "c", "a", "B"], "empty": [], "nested": [[1, 2], [3], []],
    "d": {"z": 1, "a": [True, None, 1.0], "k\"": "v<&>'é"}, "ed": {},
    "rows": [{"name": "x", "v": 1, "t": "p"}, {"name": "y", "v": 2, "t": "q"}, {"name": "z", "v": 3, "t": "p", "sub": {"w": 9}}],
    "items": {"items": 1, "keys": 2},
}

EXPRESSIONS = """
s
u|upper
1 + 2 * 3 - 4 // 3 % 2
-7 // 2 ~ ' ' ~ -7 % 3 ~ ' ' ~ 7 % -3 ~ ' ' ~ 7.5 // 2 ~ ' ' ~ -7.5 % 2
2 ** 10 ~ ' ' ~ 2 ** -1 ~ ' ' ~ -2 ** 2
7 / 2
6 / 2
0.1 + 0.2
big ~ ' ' ~ small ~ ' ' ~ 1e15 ~ ' ' ~ 123456789.0 ~ ' ' ~ 1e16
1_000 + 0x10 + 0b11 + 0o17
1.5e3 ~ ' ' ~ 2E-7
yes + 1
'a' * 3 + 'b'
3 * 'ab'
[1] * 3
[1] + [2, 3]
(1, 2) + (3,)
(1,)
()
[]
{}
{'a': 1, 'b': {'c': [1, 2]}}
{1: 'a', true: 'b', none: 'c', 2.0: 'd'}
'a' 'b' "c"
'\\n\\t\\x41\\u00e9\\'\\"\\\\\\d'
s ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'a'] ~ d
nil
yes
[none, true, 'a\\'b', "q\\"", 'both\\'"', '\\n\\x01é', 1.0]
missing
[missing]
missing|default('x') ~ e|default('y') ~ e|default('y', true) ~ nil|d('z')
missing is defined ~ s is defined ~ missing is undefined
missing == missing2
missing or 'other'
not missing
missing.attr
missing['x']
missing + 'x'
'x' + 1
1 + 'x'
'x' + none
s.missing is defined
s.missing.more
d.z ~ d['a'] ~ d['nope'] ~ d.nope
d.nope.more
items.items() | list
items['items']
l[0] ~ l[-1] ~ l[1:] ~ l[:-1] ~ l[::-1] ~ l[::2] ~ l[5:] ~ l[-2:]
l[9]
s[0] ~ s[-1] ~ s[1:4] ~ s[::-1] ~ u[4:6] ~ u[-1]
rows[0].name ~ rows[-1]['v']
rows.0.name
1 if yes else 2
1 if no
(1 if no) is defined
'a' if no else 'b' if no else 'c'
yes and 'x' or 'y'
no or e or 'z'
not yes and no
1 < 2 < 3
1 < 3 < 2
1 == 1.0 == true
'a' < 'b'
[1, 2] < [1, 3]
1 < 'a'
none < 1
1 in l ~ 9 in l ~ 'ell' in s ~ 'z' in d ~ 'q' not in d ~ 'x' in missing
1 in s
not 1 in l
l is iterable ~ s is iterable ~ n is iterable ~ d is mapping ~ l is sequence ~ d is sequence ~ missing is iterable
s is string ~ n is number ~ f is float ~ n is integer ~ yes is integer ~ yes is boolean ~ nil is none ~ yes is number
yes is true ~ no is false ~ 1 is true
n is odd ~ n is even ~ 9 is divisibleby 3 ~ n is eq 7 ~ n is gt(3) ~ n is in [7] ~ n is sameas 7
n is not odd
'abc' is lower ~ 'ABC' is upper ~ range is callable ~ s is callable
'tojson' is filter ~ 'nope' is filter ~ 'odd' is test
s|length ~ u|length ~ l|count ~ d|length
n|length
s|lower ~ s|upper ~ s|title ~ s|capitalize ~ 'aB cd-ef' | title
'  x '|trim ~ '|' ~ 'xxaxx'|trim('x')
l|first ~ l|last ~ empty|first ~ s|first
l|sort ~ l|sort(reverse=true) ~ words|sort ~ words|sort(case_sensitive=true)
rows|sort(attribute='v', reverse=true)|map(attribute='name')|list
l|reverse|list ~ s|reverse
l|sum ~ l|min ~ l|max ~ rows|sum(attribute='v')
l|join ~ l|join(', ') ~ rows|join('-', attribute='name')
rows|map(attribute='sub.w')|list
rows|map(attribute='sub', default='-')|list
words|map('upper')|list ~ words|map('replace', 'a', 'x')|join
rows|selectattr('t', 'equalto', 'p')|map(attribute='name')|list
rows|selectattr('sub')|list|length ~ rows|selectattr('sub', 'defined')|list|length
rows|rejectattr('v', 'gt', 1)|list
l|select('odd')|list ~ l|reject('odd')|list ~ [0, 1, '']|select|list
words|unique|list ~ words|unique(case_sensitive=true)|list
rows|groupby('t')|map('first')|list
d|items|list
missing|items|list
d|list ~ d.keys()|list ~ d.values()|list
d|dictsort|map('first')|list
d|tojson
d|tojson(indent=2)
d|tojson(indent=4)
nested|tojson(indent=1)
{'a': {}, 'b': []}|tojson(indent=2)
d|tojson(separators=(',', ':'))
d|tojson(sort_keys=true)
u|tojson ~ u|tojson(ensure_ascii=true)
[1.0, 1e20, 0.1, -0.0, 1e-7]|tojson
missing|tojson
quote|tojson
'\\x00\\x1f\\x7f\\u2028'|tojson
'<&>\\'"'|escape
'<b>'|e ~ '<b>'|safe
'5'|int + 1 ~ 'x'|int ~ 'x'|int(3) ~ '2.7'|int ~ 2.9|int ~ -2.9|int
'1.5'|float ~ 'x'|float ~ 3|float
f|round ~ ' ' ~ 2.567|round(2) ~ ' ' ~ 2.5|round ~ ' ' ~ 3.5|round ~ ' ' ~ 2.1|round(method='ceil') ~ ' ' ~ 2.9|round(0, 'floor')
neg|abs ~ -2.5|abs
n|string + 'x' ~ nil|string ~ d|string
lines|indent ~ '|'
lines|indent(2, true) ~ '|' ~ lines|indent('> ', blank=true)
s|replace('l', 'L') ~ s|replace('l', 'L', 1)
s|wordcount ~ s|center(20) ~ '|'
'%s has %d of %.2f%%'|format('x', 3, 2.5)
'%s-%s' % ('a', 1)
'%5d|%-5s|%05.1f' % (42, 'ab', 3.14159)
'{} {1} {x}'.format('a', 'b', x=3)
'{0} {1} {x} {{}}'.format('a', 'b', x=3)
l|batch(2)|list ~ l|batch(2, '-')|list
range(7)|list|slice(3)|list
range(5)|list ~ range(2, 8, 3)|list ~ range(3, 0, -1)|list
range(1000000)|list|length
s|attr('upper') is callable
'a b&c/d é'|urlencode
s.upper() ~ s.lower() ~ s.swapcase() ~ s.title() ~ 'éa'.capitalize()
'  x '.strip() ~ '|' ~ '  x '.lstrip() ~ '|' ~ '  x '.rstrip() ~ '|' ~ 'xyaxy'.strip('yx')
'a,b,,c'.split(',') ~ ' a  b '.split() ~ 'a b c'.split(' ', 1) ~ 'a b c'.rsplit(' ', 1) ~ ' a b  c '.split(none, 1)
' a b  c '.rsplit(none, 1) ~ ''.split() ~ ''.split(',')
'a'.split('')
lines.splitlines() ~ 'a\\r\\nb'.splitlines()
s.startswith('Hell') ~ s.endswith(('x', 'ld')) ~ s.startswith('x')
s.find('o') ~ s.rfind('o') ~ s.find('zz') ~ s.index('W') ~ s.count('l') ~ u.find('👍')
s.index('zz')
s.replace('o', '0') ~ s.replace('o', '0', 1) ~ 'ab'.replace('', '-')
', '.join(words) ~ ''.join([])
', '.join([1])
'a=b=c'.partition('=') ~ 'a=b=c'.rpartition('=') ~ 'abc'.partition('=')
'prefix-x'.removeprefix('prefix-') ~ 'x.txt'.removesuffix('.txt')
'7'.zfill(3) ~ '-7'.zfill(4) ~ 'x'.ljust(3) ~ '|' ~ 'x'.rjust(3) ~ 'x'.center(4) ~ '|'
'12'.isdigit() ~ 'a1'.isalnum() ~ 'ab'.isalpha() ~ ' '.isspace() ~ 'AB'.isupper() ~ 'ab'.islower() ~ ''.isdigit()
d.get('z') ~ d.get('q') ~ d.get('q', 5)
d.items()|list|length
d.update({'x': 1})
l.append(4)
l.index(2) ~ l.count(1)
raise_exception('no')
strftime_now('%Y-%m-%d %H:%M:%S %B %b %A %a %y %j %I %p %% %d')
strftime_now('%-d %e')
dict(a=1, b=2) ~ dict(d, q=1).q
namespace(a=1).a
s.nope()
nope()
n()
s|nope
s is nope
1 +
'open
(1
[1, 2
{{ 1
1 2
s|upper|lower|title ~ -1|abs ~ (-1)|abs
l|map('string')|join('') is string
not s is string
s is string and n is number
[x for x in l]
"a" ~ {"b": {"c": "}}"}}["b"]["c"]
-n ~ +n ~ - -n
none is none ~ None is none ~ True ~ False
9223372036854775806 + 1
l == [3, 1, 2] ~ d == d ~ (1, 2) == [1, 2] ~ {'a': 1.0} == {'a': 1}
loop
""".strip().split("\n")

TEMPLATES = [
    "plain text\n", "text\n\n", "{# c #}\nx", "  {# c #}  \nx", "a\n  {% if yes %}\n  b\n  {% endif %}\n c", "a {%- if yes -%} b {%- endif -%} c",
    "a\n  {%+ if yes +%}\n  b\n {% endif %}", "{{- s -}}  \n x", "x  {{- s }}  \n{{ s -}}\n  y", "{%- for x in l -%} {{ x }} {%- endfor -%}",
    "{% for x in l %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% for x in empty %}x{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}no{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.cycle('a', 'b') }}|{% endfor %}",
    "{% for a in l %}{% for b in l %}{{ loop.depth }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for r in rows %}{{ loop.changed(r.t) }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}after",
    "{% for c in 'héy' %}{{ c }}.{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for x in nil %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for a, b in l %}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% for i in l %}{{ y is defined }}{% set y = i %}{% endfor %}",
    "{% set ns = namespace(c=0) %}{% for i in l %}{% set ns.c = ns.c + i %}{% endfor %}{{ ns.c }}", "{% set d.x = 1 %}", "{% set q.x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = l %}", "{% set x %}in {{ s }}{% endset %}[{{ x }}]", "{% set x | upper | trim %} in {{ s }} {% endset %}[{{ x }}]",
    "{% if no %}a{% elif nil %}b{% elif yes %}c{% else %}d{% endif %}", "{% if e %}a{% else %}b{% endif %}{% if l %}c{% endif %}{% if ed %}d{% endif %}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% set g = 1 %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 2 %}{{ m() }}", "{% macro m() %}{% set s = 'in' %}{{ s }}{% endmacro %}{{ m() }}{{ s }}",
    "{% macro m(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% call m(1) %}body{{ s }}{% endcall %}", "{% macro m() %}{{ caller(5) }}{% endmacro %}{% call(v) m() %}v={{ v }}{% endcall %}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% with a = 1, b = s %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% raw %}{{ x }} {% y %}{% endraw %} z", "a\n  {%- raw -%}  {{ x }}  {%- endraw -%}  \n z",
    "{% generation %}x{{ s }}{% endgeneration %}\ny", "{% for m in rows %}{% generation %}{{ m.name }}{% endgeneration %}{% endfor %}", "{% if yes %}\n\nx\n{% endif %}\n\ny",
    "{{ s }}\n{{ s }}\n", "{% set x = [] %}{{ x }}{% set _ = 1 %}", "{%- set x = {'a': 1} -%}\n  {{ x.a }}", "{% if s is string and (n > 3 or no) %}y{% endif %}",
    "{{ '{{' }} {{ '%}' }} {{ \"}}\" }}", "{{ {'a': {'b': 1}}.a.b }}", "{{ {'a': {'b': 1}} }}", "{% unknown %}", "{% if yes %}", "{% endif %}", "{% for x in l %}{% endif %}", "{{ }}", "{% set %}", "{# open",
    "{% break %}", "a{{ '\n' }}b\r\nc\rd", "\n\n  {% if yes %}  \n x{% endif %}", "{{ s }}{% if yes %}\n{% endif %}\n{{ s }}",
    "{% for i in range(3) %}\n  - {{ i }}\n{% endfor %}\nend", "{%if yes%}a{%else%}b{%endif%}", "{% if yes -%}\n   a\n{%- endif %}", "   {% set x = 1 %}   y", "x   {% set x = 1 %}   y\n",
    "{% set m = 'a' ~ 'b' %}{{ m * 2 }}", "{{ rows | map(attribute='name') | map('upper') | join('|') }}", "{{ l|tojson }}{{ nested|tojson }}{{ yes|tojson }}{{ nil|tojson }}{{ f|tojson }}",
    "{{ foo.bar.baz if foo is defined else 'none' }}", "{% set content = rows[0].name if rows[0].name is string else '' %}{{ content }}", "{% for r in rows[::-1] %}{{ r.name }}{% endfor %}",
    "{% for r in rows %}{% if loop.index0 > 0 and rows[loop.index0 - 1].t == 'p' %}{{ r.name }}{% endif %}{% endfor %}", "{{ ''.join(['a', 'b']) + ('c' if yes else 'd') }}", "{{ s[:5] + '...' if s|length > 5 else s }}",
]


def run(template):
    try:
        return {"template": template, "expected": env.from_string(template).render(**VARS)}
    except Exception as err:
        return {"template": template, "error": type(err).__name__}


with open("cases.jsonl", "w") as f:
    f.write(json.dumps({"vars": VARS}, ensure_ascii=False) + "\n")
    for t in ["{{ " + x.replace("\\\\", "\\") + " }}" for x in EXPRESSIONS] + TEMPLATES:
        f.write(json.dumps(run(t), ensure_ascii=False) + "\n")
