"""``vqa-assets status``: where a data root stands: what is there, what was lost, what failed, the next step.

``overview`` finds it; here it is asked for and printed.
"""

import json
import os
import shlex
import sys
from collections.abc import Sequence

from vqa_assets.arguments import CommandParser
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.errors import VqaError
from vqa_assets.overview import Overview, overview_of
from vqa_assets.printing import named_or_counted, plain, tell, tell_error
from vqa_assets.tables.paths import ENVIRONMENT_NAME, DataRoot
from vqa_assets.tables.publication import settle_root


def report(overview: Overview, *, as_json: bool, absent_too: bool) -> str:
    """Where things stand as text, or as one JSON object (``Overview.as_dict``).

    The text begins with the next step and ends with what concerns all corpora; of corpora of which nothing is there it
    says how many, unless ``absent_too``.
    """
    if as_json:
        return json.dumps(overview.as_dict(absent_too=absent_too), indent=2, ensure_ascii=False)
    ordered = sorted(overview.corpora, key=lambda status: not status.present)
    shown = [status for status in ordered if status.present or absent_too]
    first, *more = overview.next_steps
    lines = [f"next: {first}" + (f" (and {len(more)} more, below)" if more else "")]
    lines += [line for status in shown for line in status.lines()]
    lines += overview.shared_lines()
    if absent := [status.name for status in ordered if status not in shown]:
        lines.append(f"not there: {named_or_counted(absent)} (vqa-assets status --all says what each needs)")
    return "\n".join(map(plain, lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when everything could be read, 1 for a data root or a corpus that could not."""
    parser = CommandParser(
        prog="vqa-assets status",
        description="Where a data root stands: what is there, what was lost, what failed, the next step.",
    )
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--json", action="store_true", help="print one JSON object (docs/commands.md)")
    parser.add_argument("--all", action="store_true", help="also of corpora of which nothing is there")
    options = parser.parse_args(arguments)
    try:
        root = DataRoot.resolve(options.root)
        settle_root(root)
        corpora = with_declared(corpora_folder(root.path, os.environ))
        overview = overview_of(root, corpora)
    except VqaError as error:
        tell_error(error)
        return 1
    try:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        tell(report(overview, as_json=options.json, absent_too=options.all), flush=True)
        # For who types the next step; a program that reads gets the report alone.
        if sys.stderr.isatty() and (usual := DataRoot.named().path).resolve() != root.path.resolve():
            of_this = f"export {ENVIRONMENT_NAME}={shlex.quote(str(root.path))}"
            tell(f"commands without --root are of {usual}; to have them of this one: {of_this}", file=sys.stderr)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if any(status.error for status in overview.corpora) else 0


if __name__ == "__main__":
    sys.exit(main())
