"""Pages that the program itself knows best: one for each method and metric, which one when, a gallery, the API."""

import inspect
import re
import sys
from pathlib import Path

import mkdocs_gen_files

import maskwise
from maskwise.explainers import methods
from maskwise.measures import metrics

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))  # mkdocs runs this file from elsewhere
from choosing import choosing, gallery  # noqa: E402

USE = {
    "maskers": "One forward, once somebody has trained it. Take it for many pictures, or to learn what *any* "
    "classifier could use.",
    "class activation": "Cheap and robust; coarse, as the last layers are. The usual first look.",
    "gradients": "Cheap and fine-grained, and noisy. Look at `maskwise check mprt` before you trust one.",
    "attention": "For transformers: from their own attention, about as cheap as class activation and finer than it. Start "
    "with `legrad`; `attention_rollout` is of no class.",
    "perturbation": "Asks the classifier itself by changing the picture; slow, needs no gradients where the cost "
    "counts forwards only.",
    "excitation": "Top-down probabilities through the network's ReLU layers; sharper than class activation maps.",
    "regions": "Whole segments instead of pixels; good boxes.",
    "references": "Knows nothing of the classifier: what every other method has to beat.",
}


def write(path: str, text: str) -> None:
    with mkdocs_gen_files.open(path, "w") as page:
        page.write(text)


def doc_of(entry: object) -> str:
    """A docstring as Markdown: its lists of arguments become lists of the page, its examples code."""
    text = inspect.getdoc(entry) or ""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"^(Args|Attributes|Returns|Raises|Example):$", r"\n**\1**\n", text, flags=re.M)
    return re.sub(r"^    (\w[\w, ]*): ", r"- `\1`: ", text, flags=re.M)


def meanings(entry: type) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of each argument, on one line."""
    found: dict[str, str] = {}
    for owner in entry.__mro__:
        text = inspect.cleandoc(owner.__dict__.get("__doc__") or "")
        listed = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.M)
        for names, said in re.findall(
            r"^    (\w[\w, ]*): (.*(?:\n {6,}.*)*)", listed[1] if listed else "", re.M
        ):
            for name in names.split(", "):
                line = " ".join(re.sub(r"``([^`]+)``", r"`\1`", said).split())
                found.setdefault(name, line.replace("|", "\\|"))
    return found


def options_of(entry: type) -> str:
    given = inspect.signature(entry).parameters.values()
    known = [p for p in given if p.name not in ("classifier", "self")]
    if not known:
        return "It has no options."
    said = meanings(entry)
    rows = ["| option | default | what to pass |", "|---|---|---|"]
    for p in known:
        default = "" if p.default is p.empty else f"`{p.default!r}`"
        rows.append(f"| `{p.name}` | {default} | {said.get(p.name) or type_of(p)} |")
    return "\n".join(rows)


def type_of(parameter: inspect.Parameter) -> str:
    """Its annotation, where nothing else is said."""
    kind = parameter.annotation
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    return "" if kind is parameter.empty else f"`{text}`".replace("|", "\\|")


def method_page(name: str) -> str:
    facts, entry = methods.facts(name), methods.get(name)
    picture = DOCS / "images" / "methods" / f"{name}.webp"
    shown = f"![A cat, and its map by {name}](../images/methods/{name}.webp)\n" if picture.is_file() else ""
    said = {True: "yes", False: "no"}
    caution = f"| caution | {facts['caution']} |\n" if facts["caution"] else ""
    return f"""# {name}

{shown}
| | |
|---|---|
| family | {facts["family"]} |
| paper | {facts["paper"]} |
| cost a picture | {facts["cost"]} |
| needs gradients | {said[facts["needs_gradients"]]} |
| needs a class | {said[facts["needs_target"]]} |
| random | {said[facts["random"]]} |
{caution}
## What it does

{doc_of(entry)}

## When to use it

{USE.get(facts["family"], "")}

## Options

{options_of(entry)}

```python
explainer = mw.explainer("{name}", classifier)
```

```sh
maskwise explain dog.jpg --method {name}
```
"""


def metric_page(name: str) -> str:
    facts, entry = metrics.facts(name), metrics.get(name)
    better = {True: "higher", False: "lower", None: "neither"}[facts["higher_is_better"]]
    return f"""# {facts["title"]}

| | |
|---|---|
| name | `{name}` |
| family | {facts["family"]} |
| unit | {facts["unit"] or "none"} |
| better | {better} |
| needs | {", ".join(facts["needs"]) or "maps only"} |
| paper | {facts["paper"]} |

## Protocol

{doc_of(entry)}

{options_of(entry)}

```sh
maskwise evaluate --data DATA --method casm --metrics {name}
```
"""


def index(title: str, lead: str, rows: list[str]) -> str:
    return f"# {title}\n\n{lead}\n\n" + "\n".join(rows) + "\n"


rows = ["| method | family | cost a picture | paper |", "|---|---|---|---|"]
for name, facts in methods.items():
    write(f"methods/{name}.md", method_page(name))
    rows.append(f"| [{name}]({name}.md) | {facts['family']} | {facts['cost']} | {facts['paper']} |")
write("methods/index.md", index("Methods", "`maskwise methods` prints the same list.", rows))

rows = ["| metric | family | better | paper |", "|---|---|---|---|"]
for name, facts in metrics.items():
    write(f"metrics/{name}.md", metric_page(name))
    better = {True: "higher", False: "lower", None: ""}[facts["higher_is_better"]]
    rows.append(f"| [{name}]({name}.md) | {facts['family']} | {better} | {facts['paper']} |")
write("metrics/index.md", index("Metrics", "`maskwise metrics` prints the same list.", rows))

api = ["# API\n", "What `import maskwise as mw` gives.\n"]
api += [f"::: {maskwise._HOMES.get(name, 'maskwise')}.{name}\n" for name in maskwise.__all__]
write("api.md", "\n".join(api))
known = dict(methods.items())
write("which-method.md", choosing(known))
write("gallery.md", gallery(known, DOCS / "images" / "methods"))
