"""The pages agree with the code, with each other, and name no place of ours."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.support import pages
from tests.support.pages import REPO

from sluice.cli.main import COMMANDS, LazyCommands

PAGES = sorted(
    path.relative_to(REPO).as_posix()
    for path in (*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md"))
)
BOTH = ("README.md", "README.zh-CN.md")


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in pages.links(pages.read(page)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, fragment = link.partition("#")
        target = (REPO / page).parent / name if name else REPO / page
        assert target.exists(), f"{page} links to {link}"
        assert target.resolve().is_relative_to(REPO), f"{page} links out of the checkout: {link}"
        if fragment:
            titles = [pages.anchor(title) for _, title in pages.headings(target.read_text())]
            assert fragment in titles, f"{page} links to {link}"


def test_every_page_of_docs_is_in_the_index() -> None:
    linked = pages.links(pages.read("docs/README.md"))
    for path in (REPO / "docs").glob("*.md"):
        assert path.name == "README.md" or path.name in linked, f"docs/README.md lacks {path.name}"


def test_every_decision_is_in_the_index() -> None:
    linked = pages.links(pages.read("docs/decisions/README.md"))
    for path in (REPO / "docs" / "decisions").glob("*.md"):
        assert path.name == "README.md" or path.name in linked, f"the index lacks {path.name}"


# --- two languages --------------------------------------------------------------------------------


def _shape(section: str) -> dict[str, object]:
    lines = pages.prose(section).splitlines()
    return {
        "headings": [depth for depth, _ in pages.headings(section)],
        "code": pages.blocks(section),
        "points": sum(line.startswith("- ") for line in lines),
        "rows": sum(line.startswith("|") for line in lines),
        "emphasised": section.count("**"),
        "links": [_of_either_language(link) for link in pages.links(section)],
    }


def _of_either_language(link: str) -> str:
    return link.replace(".zh-CN.", ".")


def test_the_readmes_say_the_same_section_by_section() -> None:
    english, chinese = (pages.sections(pages.read(name)) for name in BOTH)
    assert len(english) == len(chinese)
    for ours, theirs in zip(english, chinese, strict=True):
        assert _shape(ours) == _shape(theirs), f"{ours.splitlines()[0]} / {theirs.splitlines()[0]}"


# --- commands -------------------------------------------------------------------------------------

_SLUICE = re.compile(r"(?<![\w./-])sluice ([a-z]+)((?: (?:[^\s`|;&()]+))*)")


def _code_of(page: str) -> list[str]:
    """Code blocks and inline code: where a command is meant to be typed."""
    text = pages.read(page)
    return [b.text for b in pages.blocks(text)] + re.findall(r"`([^`\n]+)`", pages.prose(text))


def _commands_in(page: str) -> list[tuple[str, str, list[str]]]:
    """(command, first word after it, options) of every `sluice …` on the page."""
    found = []
    for code in _code_of(page):
        for name, rest in _SLUICE.findall(code.replace("\\\n", " ")):
            words = rest.split()
            options = [word for word in words if word.startswith("--")]
            found.append((name, words[0] if words else "", options))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists(page: str) -> None:
    for name, word, options in _commands_in(page):
        assert name in COMMANDS, f"{page}: sluice {name}"
        command = LazyCommands().get_command(None, name)
        subcommands = getattr(command, "commands", {})
        if subcommands and word and word.isalpha():
            assert word in subcommands, f"{page}: sluice {name} {word}"
            command = subcommands[word]
        known = {option for parameter in command.params for option in _options_of(parameter)}
        assert set(options) <= known | {"--help"}, f"{page}: sluice {name} {options}"


def _options_of(parameter: object) -> list[str]:
    return [*getattr(parameter, "opts", []), *getattr(parameter, "secondary_opts", [])]


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", pages.read("Makefile"), re.MULTILINE))
    for code in _code_of(page):
        for target in re.findall(r"(?:^|\s)make ([a-z]+)", code):
            assert target in targets, f"{page}: make {target}"


def test_every_command_is_on_some_page() -> None:
    named = {name for page in PAGES for name, _, _ in _commands_in(page)}
    assert set(COMMANDS) <= named


# --- invariants -----------------------------------------------------------------------------------


def test_every_test_that_a_page_names_is_there() -> None:
    for page in PAGES:
        for code in _code_of(page):
            for name in re.findall(r"tests/[\w/]+\.py", code):
                assert (REPO / name).is_file(), f"{page}: {name}"


def test_every_file_of_ours_that_a_page_names_is_there() -> None:
    for page in PAGES:
        for code in _code_of(page):
            for name in re.findall(r"(?<![\w/])src/sluice/[\w/]+\.\w+", code):
                assert (REPO / name).is_file(), f"{page}: {name}"


def test_the_invariants_are_numbered_as_the_audit_numbers_them() -> None:
    page = pages.read("docs/invariants.md")
    titles = [title for depth, title in pages.headings(page) if depth == 3]
    assert [title.split(".")[0] for title in titles] == [str(n) for n in range(1, 16)]
    for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        number = section.split(".")[0]
        for check in re.findall(r"Audit: `(\w+)`", section):
            assert check.startswith(f"{number}_"), check


# --- figures --------------------------------------------------------------------------------------


def test_every_table_of_figures_names_the_command_that_takes_them_again() -> None:
    for section in pages.sections(pages.read("docs/benchmarks.md")):
        if "\n|" in section:
            title = section.splitlines()[0]
            assert "make bench" in section or "sluice bench" in section, title


# --- what must not be there -----------------------------------------------------------------------

_PLACES = tuple("".join(parts) for parts in (("/wo", "rk/"), ("/tm", "p/w/"), ("/ro", "ot/")))
_REGISTRIES = re.compile(
    r"py" r"pi\.org|python" r"hosted|index-" r"url [^ ]*://|/simple/?[\"'\s]", re.IGNORECASE
)


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=False, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [REPO / name for name in listed.stdout.split("\0") if name and (REPO / name).is_file()]


def test_no_tracked_file_names_a_registry_or_a_place_of_one_machine() -> None:
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        name = path.relative_to(REPO)
        assert not _REGISTRIES.search(text), f"{name} names a package registry"
        for place in _PLACES:
            assert place not in text, f"{name} names {place}"
