"""The pages as a site, by what ``make docs`` runs."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(path.stem for path in (REPOSITORY / "docs").glob("*.md"))


def built(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    flags = ["--quiet", "--fail-on-warning", "--keep-going", "-c", str(source / "docs"), "-d", str(out / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *flags, str(source), str(out / "site")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs")
    done = built(REPOSITORY, out)
    assert (done.returncode, done.stderr) == (0, "")
    return out / "site"


class Links(HTMLParser):
    """What a page refers to, and what in it can be referred to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.wanted: list[str] = []
        self.named: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.named.add(given.get("id") or "")
        self.wanted += [value for key in ("href", "src") if (value := given.get(key)) and tag in ("a", "img", "script")]


@pytest.mark.takes_long("the site is built")
def test_every_page_is_there_and_each_link_leads_somewhere_inside(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    assert [page for page in PAGES if f'href="docs/{page}.html"' not in first] == []
    links = {page: Links(page) for page in [site / "index.html", *(site / "docs").glob("*.html")]}
    astray = []
    for page, found in links.items():
        for link in found.wanted:
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", path):
                assert path.startswith(("https:", "http:", "mailto:")), link
                continue
            there = (page.parent / path.partition("?")[0]).resolve() if path else page
            if not there.exists() or (anchor and there in links and anchor not in links[there].named):
                astray.append(f"{page.name}: {link}")
    assert astray == []


@pytest.mark.takes_long("the site is built")
def test_what_is_searched_and_called_is_in_it_and_nothing_comes_from_the_network(site: Path) -> None:
    assert "attrition" in (site / "searchindex.js").read_text(encoding="utf-8")
    assert 'id="vqa_assets.metrics.srocc"' in (site / "docs" / "api.html").read_text(encoding="utf-8")
    assert len(list((site / "_images").glob("*.png"))) >= 3
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert fetched == [], page.name


@pytest.mark.takes_long("the site is built")
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    shutil.copyfile(REPOSITORY / "docs" / "conf.py", source / "docs" / "conf.py")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        (source / name).write_text("# A page\n")
    (source / "README.md").write_text("# First\n\n[here](docs/other.md#a-heading), [there](docs/other.md#no-heading)\n")
    (source / "docs" / "other.md").write_text("# Other\n\n## A heading\n")
    done = built(source, tmp_path)
    assert done.returncode == 1
    assert "README.md:3: WARNING: local id not found in doc 'docs/other': 'no-heading'" in done.stderr
    assert "a-heading" not in done.stderr
