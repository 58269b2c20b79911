"""How ``make docs`` turns the pages into a site: Sphinx, MyST and furo, without the network.

The source is the whole repository, so that the pages' links hold as they are; the README is the first page, and its
table of pages is the site's table of contents.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from vqa_assets import __version__

_TOP = Path(__file__).parents[1]

project = "vqa_assets"
version = release = __version__
root_doc = "README"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = [".*", "build", "data", "demo-data"]  # a million clips may lie there
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
myst_heading_anchors = 6  # by the names that the pages' readers on a code host know
html_theme = "furo"
html_title = f"vqa_assets {__version__}"
html_show_copyright = False
html_show_sphinx = False


def _with_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Put the table of contents behind the README: its own table's order, then what the table does not name."""
    if page != root_doc:
        return
    pages = re.findall(r"^\| \[(docs/[\w-]+)\.md\]", source[0], re.MULTILINE)
    pages += sorted(f"docs/{path.stem}" for path in (_TOP / "docs").glob("*.md") if f"docs/{path.stem}" not in pages)
    pages += ["CONTRIBUTING", "CHANGELOG"]
    source[0] += "\n".join(["\n\n```{toctree}", ":hidden:", *pages, "```\n"])


def _with_index(app: Sphinx, failed: Exception | None) -> None:
    """A web server, and whoever opens the folder, looks for index.html."""
    if failed is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    app.connect("source-read", _with_contents)
    app.connect("build-finished", _with_index)
