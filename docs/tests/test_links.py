"""What pages point to is there: links, headings, and the files, folders, settings and commands that they name."""

import json
import pathlib
import re
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(
    [REPOSITORY / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + list((REPOSITORY / "docs").rglob("*.md"))
    + [REPOSITORY / "labextension/README.md"]
)
TOP = {path.name for path in REPOSITORY.iterdir()}
#: Made by set-up, so not there in a fresh clone.
MADE = ("build/", "target/", "labextension/node_modules", "labextension/lib", "labextension/ui-tests/test-results",
        "labextension/nuna_labextension/labextension", "labextension/dist")  # fmt: skip


def named(page: pathlib.Path) -> str:
    return str(page.relative_to(REPOSITORY))


def outside_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.S)


def anchors(page: pathlib.Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ +(.*)$", outside_code(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def expand(path: str) -> list[str]:
    """`a/{b,c}/d` as the shell reads it."""
    found = re.search(r"\{([^{}]*)\}", path)
    if not found:
        return [path]
    return [whole for part in found[1].split(",") for whole in expand(path[: found.start()] + part + path[found.end() :])]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), f"{target} is not https"
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            faults.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(file):
            faults.append(f"{target}: no such heading")
    assert not faults, faults


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page):
    """A word in backticks that begins with a folder of the repository, or of the page's own, is a path."""
    faults = []
    for word in re.findall(r"`([^`\n]+)`", outside_code(page.read_text())):
        word = word.split()[0] if word.split() else ""
        first = word.split("/")[0]
        if "/" not in word or first not in TOP or not re.fullmatch(r"[\w./*{},\-]+", word):
            continue
        for path in expand(word):
            if not path.startswith(MADE) and not list(REPOSITORY.glob(path.rstrip("/"))):
                faults.append(path)
    assert not faults, f"{named(page)} names what is not there: {faults}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_xtask_commands_exist(page):
    source = (REPOSITORY / "xtask/src/main.rs").read_text()
    tasks = {name.lower() for name in re.findall(r"^    (\w+)(?:\(.*\))?,$", source, re.M)}
    assert {"up", "test"} <= tasks
    for name in re.findall(r"cargo xtask (\w+)", page.read_text()):
        assert name in tasks, f"{named(page)}: cargo xtask {name}"


def test_pages_are_reachable_from_the_index():
    index = REPOSITORY / "docs/README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", index.read_text())}
    lost = [named(page) for page in (REPOSITORY / "docs").rglob("*.md") if page != index and page not in linked]
    assert lost == []


def test_no_page_names_a_folder_of_the_machine_it_was_written_on():
    for page in [*PAGES, *(REPOSITORY / "docs/tutorials").glob("*.ipynb")]:
        assert not re.search(r"(?<![\w.])/(work|root)/", page.read_text()), named(page)


def fields(source: str, struct: str) -> set[str]:
    body = re.search(rf"pub struct {struct} \{{(.*?)^\}}", source, re.S | re.M)
    assert body, f"there is no struct {struct}"
    # As serde reads them: a word that Rust keeps for itself has another name there.
    found = re.findall(r'(?:^    #\[serde\(.*?rename = "(\w+)".*\)\]\n)?^    (?:pub )(\w+):', body[1], re.M)
    return {renamed or name for renamed, name in found}


def settings_of_the_service() -> set[str]:
    source = "\n".join(path.read_text() for path in (REPOSITORY / "spawner/src/config").glob("*.rs"))
    sections = re.findall(r"pub (\w+): (\w+Settings)", re.search(r"pub struct Config \{(.*?)^\}", source, re.S | re.M)[1])
    assert len(sections) >= 8
    return {f"{section}.{key}" for section, struct in sections for key in fields(source, struct)}


def first_column(page: pathlib.Path, heading: str) -> set[str]:
    part = re.split(rf"^#+ {re.escape(heading)}$", page.read_text(), flags=re.M)[1]
    part = re.split(r"^#+ ", part, flags=re.M)[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("| ")]
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_every_setting_of_the_service_is_explained_and_no_other():
    guide = REPOSITORY / "docs/guides/administrator.md"
    assert first_column(guide, "Settings of `spawner.toml`") == settings_of_the_service()


def test_every_setting_of_a_profile_is_explained_and_no_other():
    guide = REPOSITORY / "docs/guides/administrator.md"
    source = (REPOSITORY / "spawner/src/config/profiles.rs").read_text()
    assert first_column(guide, "Profiles") == fields(source, "ProfileSettings")


def test_every_setting_of_the_helper_is_explained_and_no_other():
    guide = REPOSITORY / "docs/guides/administrator.md"
    source = (REPOSITORY / "spawner/crates/submit/src/config.rs").read_text()
    assert first_column(guide, "Settings of `/etc/nuna/submit.toml`") == fields(source, "Config")


def test_metrics_that_are_named_exist():
    names = set(re.findall(r"\bnuna_[a-z_]+(?:_total|_seconds|_servers|_answers)\b", (REPOSITORY / "docs/guides/administrator.md").read_text()))
    source = (REPOSITORY / "spawner/src/metrics.rs").read_text()
    assert len(names) >= 5
    assert [name for name in names if f'"{name}"' not in source] == []


def test_edges_of_the_architecture_are_those_that_tidy_checks():
    """The table of crates has the same lines as xtask's own."""
    source = (REPOSITORY / "xtask/src/tidy.rs").read_text()
    table = re.search(r"const EDGES.*?= &\[(.*?)^\];", source, re.S | re.M)[1]
    edges = {}
    for name, used in re.findall(r'\(\s*"([\w-]+)",\s*&\[(.*?)\],?\s*\)', table, re.S):
        edges[name] = set(re.findall(r'"([\w-]+)"', used))
    assert len(edges) > 20
    lines = re.findall(r"^\| `([\w-]+)` \| ([^|]*) \|$", (REPOSITORY / "ARCHITECTURE.md").read_text(), re.M)
    assert {name: set(re.findall(r"`([\w-]+)`", used)) for name, used in lines} == edges


def test_settings_examples_of_the_guide_are_toml():
    import tomllib

    blocks = re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs/guides/administrator.md").read_text(), re.S)
    blocks += re.findall(r"^ +```toml\n(.*?)^ +```", (REPOSITORY / "docs/guides/administrator.md").read_text(), re.S | re.M)
    assert len(blocks) >= 4
    for block in blocks:
        tomllib.loads(block)


def test_the_tutorial_is_a_notebook():
    notebook = json.loads((REPOSITORY / "docs/tutorials/first-cluster.ipynb").read_text())
    assert notebook["nbformat"] == 4


def test_everything_linked_is_in_the_repository():
    """A file that git does not know is missing in the next clone."""
    tracked = set(subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines())
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s:]+)\)", outside_code(page.read_text())):
            file = (page.parent / target).resolve()
            if file.is_file():
                assert str(file.relative_to(REPOSITORY)) in tracked, f"{named(page)}: {target}"
