"""A head's model card, Markdown for people, written from its manifest alone. What it says is in ``card.md.j2``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from vqa_assets.heads.manifest import target_of
from vqa_assets.heads.verdicts import PREDICTORS, beside_ridge, verdict_in_a_line
from vqa_assets.printing import cell, plain_values

_TEMPLATE = "card.md.j2"


def render_card(manifest: Mapping[str, Any], picture: str = "") -> str:
    """The card as Markdown, ending in a newline. Numbers that are not defined read ``–``.

    ``picture`` is the file beside the card that shows predictions and residuals, where there is one.
    """
    manifest = plain_values(manifest)  # names of tables and columns come from outside
    target, (low, high) = target_of(manifest)
    run = manifest.get("run_provenance")  # nothing of a head that was not stored
    template = _environment().get_template(_TEMPLATE)
    return template.render(
        m=manifest,
        picture=picture,
        verdict=verdict_in_a_line(manifest, bold=True),
        beside_ridge=beside_ridge(manifest),
        predictor_names=PREDICTORS,
        target=target,
        range=f"{low:g}–{high:g}",
        run=run,
        made_by=_made_by(run) if run else [],
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(),  # of HTML; a card is Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["cell"] = cell
    return environment


def _made_by(run: Mapping[str, Any]) -> list[str]:
    """The asset and the code that made a head, as far as its run says them."""
    git, asset = run["git"], run["dagster"].get("asset_key")
    commit = git.get("commit")
    changes = " with changes" if git.get("dirty") else ""
    return [*([f"asset {asset}"] if asset else []), *([f"commit `{commit}`{changes}"] if commit else [])]
