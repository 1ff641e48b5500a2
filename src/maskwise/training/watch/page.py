"""The page of a training: one file that renews itself while it runs, with no server and nothing from elsewhere."""

from __future__ import annotations

import base64
import json
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from maskwise.core.files import atomic_write
from maskwise.training import recipes
from maskwise.training.callbacks import TrainingState
from maskwise.training.watch.charts import POINTS, charts
from maskwise.training.watch.contact_sheet import FOLDER, ContactSheets, sheets_in
from maskwise.training.watch.lines import duration
from maskwise.training.watch.svg import chart_svg, legend
from maskwise.training.watch.warnings import EarlyWarning
from maskwise.training.watch.watcher import Watcher

PAGE = "index.html"
REFRESH = 30  # seconds between two loads by the browser
SHARE = 0.01  # of the time, at most, that goes into the page between two looks


class Page(Watcher):
    """Writes ``index.html`` at every look and at the end, and a little more often where that costs next to nothing.

    Args:
        settings: what the training was called with, for people.
        sheets: where contact sheets are written, too.
        warnings: that were given so far.
        command: that began the training; None where a script did.
    """

    what = "the page"

    def __init__(
        self,
        settings: Mapping[str, object],
        sheets: ContactSheets | None = None,
        warnings: Sequence[EarlyWarning] = (),
        command: str | None = None,
    ) -> None:
        self.settings, self.sheets, self.warnings = settings, sheets, warnings
        self.command = command_line() if command is None else command
        self.written, self.cost = time.monotonic(), 0.0

    def on_look(self, state: TrainingState) -> None:
        self.write(state, "Running", running=True)

    def on_step(self, state: TrainingState) -> None:
        if time.monotonic() - self.written > max(REFRESH, self.cost / SHARE):
            self.on_look(state)

    def on_end(self, state: TrainingState) -> None:
        if state.interrupted:
            self.write(state, "Interrupted", f"after step {state.step}, which is saved.")
        elif state.step < state.total:
            self.write(state, "Ended", f"after step {state.step}: {state.ended}.", well=True)
        else:
            self.write(state, "Ended", "after its last step.", well=True)

    def on_error(self, state: TrainingState, error: BaseException) -> None:
        said = " ".join(str(error).split()) or type(error).__name__
        self.write(state, "Stopped by an error", f"after step {state.step}: {said}")

    def write(
        self, state: TrainingState, now: str, detail: str = "", running: bool = False, well: bool = False
    ) -> None:
        """Writes the page, atomically.

        Args:
            now: how the training is, in a word or two.
            detail: what else is said of that.
            running: shall the page renew itself?
            well: did the training end as it should?
        """
        began = time.monotonic()
        with self.careful(), atomic_write(state.out / PAGE) as temporary:
            text = _template().render(self._content(state, now, detail, running, well))
            temporary.write_text(text.encode("utf-8", "replace").decode(), encoding="utf-8")
        self.written = time.monotonic()
        self.cost = self.written - began

    def _content(self, state: TrainingState, now: str, detail: str, running: bool, well: bool) -> dict[str, Any]:
        lines = read_log(state.out / "log.jsonl")
        recipe = state.trainer.recipe
        drawn = charts(lines)
        each = -(-len(lines) // POINTS)
        return {
            "title": f"{state.out.name}: {recipe.title or recipe.kind}",
            "refresh": REFRESH if running else 0,
            "well": well,
            "state": now + ("" if detail else "."),
            "detail": detail,
            "progress": f"{now.lower()}, step {state.step} of {state.total}",
            "step": state.step,
            "total": state.total,
            "written": _times(state, running),
            **self._what_then(state, running, well),
            "warnings": [text for warning in self.warnings for text in warning.told],
            "sheets": [] if self.sheets is None else _sheets(state.out / FOLDER),
            "origin": "" if self.sheets is None else _explained(self.sheets),
            "sheet_width": max(self.sheets.size[0], 640) if self.sheets else 640,
            "charts": [
                {"title": chart.family.title, "svg": Markup(chart_svg(chart)), "legend": Markup(legend(chart))}
                for chart in drawn
            ],
            "averaged": "Beside each name is its last value. "
            + (f"A point is the mean of {each} steps." if each > 1 else "Every step is a point."),
            "settings": {name: _shown(value) for name, value in self.settings.items()},
            "recipe": recipes.dump(recipe),
        }

    def _what_then(self, state: TrainingState, running: bool, well: bool) -> dict[str, str]:
        """What somebody may want to do now, and the command for it."""
        if well:
            made = state.out / state.trainer.output
            use = ""
            if self.command and state.trainer.recipe.kind == "mask":
                named = ["--classifier", state.trainer.classifier.name, "--masker", str(made)]
                use = shlex.join(["maskwise", "explain", "PICTURE", *named])
            return {"then": f"The result is in {made}." + (" Use it:" if use else ""), "command": use}
        resumed = "" if not self.command else self.command + ("" if "--resume" in self.command else " --resume")
        how = "go on with:" if resumed else "go on with the same call and resume=True."
        if running:
            return {"then": f"If it was killed and the time above stands still, {how}", "command": resumed}
        return {"then": how[0].upper() + how[1:], "command": resumed}


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("maskwise.training.watch"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html")


def _times(state: TrainingState, running: bool) -> str:
    said = [f"Step {state.step} of {state.total}"]
    if state.logged:
        pace = state.logged["seconds_per_step"]
        said.append(f"{pace:.2g} s a step")
        if running:
            said.append(f"about {duration(pace * (state.total - state.step))} left")
        said.append(f"{100 * state.waited:.0f}% of the time went by waiting for pictures")
    return ", ".join(said) + time.strftime(". Written on %Y-%m-%d at %H:%M:%S %Z.")


def _sheets(folder: Path) -> list[dict[str, Any]]:
    """The last contact sheet, and the first one beside it."""
    paths = sheets_in(folder)
    shown = []
    for path in dict.fromkeys([*paths[-1:], *paths[:1]]):
        with Image.open(path) as image:
            width, height = image.size
        step = int(path.stem)
        what = "Before the first step" if step == 0 else f"After step {step}"
        caption = what if path == paths[-1] else f"{what}, to compare"
        uri = "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
        alt = (
            f"{what}, one column a picture: the picture and the class asked for, the map over it with its area, the "
            "picture masked in and masked out with the probability of the class before and after."
        )
        shown.append({"caption": caption, "uri": uri, "width": width, "height": height, "alt": alt})
    return shown


def _explained(sheets: ContactSheets) -> str:
    return (
        f"Shown are {sheets.views.origin}, always the same. Below a picture is its class, which the classifier named "
        "before the training where there is no label; p is what the classifier, as it is now, gives that class, before "
        f"and after masking. All sheets are in the folder {FOLDER}."
    )


def read_log(path: Path) -> list[dict[str, float]]:
    """All whole lines; one in the making is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def command_line() -> str | None:
    """The command of ours that runs in this process, as one would type it; passwords in addresses are left out."""
    program = Path(sys.argv[0])
    if program.stem != "maskwise" and (program.name, program.parent.name) != ("__main__.py", "maskwise"):
        return None
    return _shown(shlex.join(["maskwise", *sys.argv[1:]]))


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return re.sub(r"(\w+://)[^/\s@]*@", r"\1…@", re.sub(r"(\w+://[^\s?']*)\?[^\s']*", r"\1?…", text))
