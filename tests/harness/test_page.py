"""The report page: nothing is lost, nothing gets out of its place.

The last tests look at the page in a browser. They run where the environment
variable SOCKSTEP_BROWSER names Chromium or Chrome, and are skipped elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
import select
import subprocess
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sample_results
from sockstep import page


class Reader(html.parser.HTMLParser):
    """What a browser without JavaScript would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.cells: list[dict[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "a" and "data-i" in attributes:
            self.cells.append(attributes)
        if tag not in ("meta", "input"):
            self.inside.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.inside):
            self.texts[tag][-1] += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.texts["script"][1])


def read(results: dict[str, Any]) -> Reader:
    return Reader(page.render(results))


def unpacked(data: dict[str, Any], index: int) -> dict[str, Any]:
    """A cell of the embedded data, with its strings back in their places."""
    strings = data["strings"]
    cell = dict(data["cells"][index])
    for key in ("lesson", "role", "program", "case"):
        cell[key] = strings[cell[key]]
    cell["transcript"] = [
        {"t": t / 1e6, "actor": strings[actor], "channel": strings[channel],
         "act": strings[act], "data": strings[hex_], "size": size, "note": strings[note]}
        for t, actor, channel, act, hex_, size, note in cell["evidence"].get("transcript", [])]
    return cell


# What is shown


@pytest.mark.parametrize("make", [
    sample_results.small, sample_results.large, sample_results.submission])
def test_each_result_has_its_cell(make: Any) -> None:
    results = make()
    reader = read(results)
    cells = {int(str(cell["data-i"])): cell for cell in reader.cells}
    assert sorted(cells) == list(range(len(results["results"])))
    for index, result in enumerate(results["results"]):
        assert cells[index]["class"] == "v " + result["verdict"].replace("/", "")
        assert cells[index]["href"] == "#" + "/".join(
            (result["lesson"], result["role"], result["program"], result["case"]))
        assert cells[index]["aria-label"] == f"{result['verdict']}: {result['program']}"


def test_embedded_evidence_is_the_evidence() -> None:
    results = sample_results.small()
    data = read(results).data
    for index, result in enumerate(results["results"]):
        cell, evidence = unpacked(data, index), result["evidence"]
        for key in ("lesson", "role", "program", "case", "verdict"):
            assert cell[key] == result[key]
        assert cell["transcript"] == [
            {**row, "t": pytest.approx(row["t"], abs=1e-6)} for row in evidence["transcript"]]
        for key in ("mismatch", "process", "stderr", "stdout", "faults", "detail", "repeat"):
            assert cell["evidence"].get(key) == (evidence.get(key) or None)
        for key in ("calls", "valgrind"):
            assert [data["strings"][line] for line in cell["evidence"].get(key, [])] \
                == evidence.get(key, [])


def test_programs_and_cases_come_in_their_order() -> None:
    results = sample_results.small()
    results["results"].reverse()
    server, client = page.sections_of(results)
    assert [server["role"], client["role"]] == ["server", "client"]
    assert [one["name"] for one in server["programs"]] == sample_results.SERVER_STEPS
    assert [row["case"] for _, rows in server["groups"] for row in rows] == [
        name for name, about in sample_results.CASES.items() if about["role"] == "server"]
    assert [one["number"] for one in client["programs"]] == list("1234567")


def test_what_no_list_names_is_shown_too() -> None:
    results = sample_results.small()
    extra = {**results["results"][0], "program": "mine-in-rust", "case": "echo/unlisted"}
    results["results"].append(extra)
    server, client = page.sections_of(results)
    assert server["programs"][-1] == {"name": "mine-in-rust", "number": "", "words": "mine-in-rust"}
    assert len(server["cells"]) + len(client["cells"]) == len(results["results"])


def test_counts() -> None:
    results = sample_results.small()
    server, _ = page.sections_of(results)
    verdicts = [one["verdict"] for one in results["results"] if one["role"] == "server"]
    assert server["counts"] == {name: verdicts.count(name) for name in page.VERDICTS}
    assert {name: sum(one[name] for one in server["by_program"]) for name in page.VERDICTS} \
        == server["counts"]


@pytest.mark.parametrize(("change", "heading"), [
    ({}, "4 of 124 results are not as the contract has them."),
    ({"results": []}, "No case ran."),
    ({"environment": {"complete": False}}, "The run did not finish."),
])
def test_heading(change: dict[str, Any], heading: str) -> None:
    reader = read({**sample_results.small(), **change})
    assert reader.texts["h1"][0].strip() == heading


def test_heading_of_a_good_run() -> None:
    results = sample_results.small()
    results["results"] = [
        one for one in results["results"] if one["verdict"] in ("pass", "gap", "n/a")]
    assert read(results).texts["h1"][0].strip() == "Every result is as the contract has it."


def test_score_of_a_submission() -> None:
    results = sample_results.submission()
    results["score"] = {"points": 27.5, "of": 32}
    assert "27.5 of 32 points" in " ".join(page.render(results).replace("<small>", "").split())


def test_results_with_little_evidence() -> None:
    results = sample_results.small()
    for result in results["results"]:
        result["evidence"] = {}
    del results["cases"], results["lessons"]
    assert len(read(results).cells) == len(results["results"])


def test_without_javascript_each_failure_unfolds() -> None:
    results = sample_results.small()
    reader = read(results)
    unfolding = {attributes["id"] for tag, attributes in reader.tags
                 if tag == "details" and "id" in attributes}
    assert unfolding == {
        f"{one['lesson']}/{one['role']}/{one['program']}/{one['case']}"
        for one in results["results"] if one["verdict"] in ("fail", "error", "gap")}
    for one in results["results"]:
        if one["verdict"] == "fail":
            assert one["evidence"]["repeat"] in reader.texts["noscript"][0]


# What must not get out


def test_nothing_is_fetched_and_nothing_foreign_runs() -> None:
    text = page.render(sample_results.small())
    reader = Reader(text)
    assert {tag for tag, _ in reader.tags}.isdisjoint(
        {"img", "link", "iframe", "object", "embed", "form", "base"})
    for _, attributes in reader.tags:
        assert "src" not in attributes and "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    assert "url(" not in text and "@import" not in text
    scripts = [attributes.get("type") for tag, attributes in reader.tags if tag == "script"]
    assert scripts == [None, "application/json", None]


def test_policy_names_the_scripts_and_the_style_of_the_page() -> None:
    reader = read(sample_results.small())
    policy = next(attributes["content"] for _, attributes in reader.tags
                  if attributes.get("http-equiv") == "Content-Security-Policy")
    early, _, script = reader.texts["script"]

    def named(text: str) -> str:
        return "'sha256-" + base64.b64encode(
            hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert policy == (
        f"default-src 'none'; style-src {named(reader.texts['style'][0])}; "
        f"script-src {named(early)} {named(script)}; base-uri 'none'; form-action 'none'")


def hostile_everywhere() -> dict[str, Any]:
    """Results with the hostile text in each place that takes free text."""
    bad = sample_results.HOSTILE + sample_results.NO_UTF8
    results = sample_results.small()
    for result in results["results"]:
        result["message"] = bad
        result["evidence"].update(
            detail=bad, stderr=bad, stdout=bad, faults=bad, calls=[bad], valgrind=[bad],
            repeat=bad, kind=bad, extra={bad: bad})
        result["evidence"]["process"] = {"argv": [bad], "ended": bad, "state": bad}
        for row in result["evidence"]["transcript"]:
            row.update(note=bad, channel=bad, act=bad, actor=bad)
    for about in results["cases"].values():
        about.update(dict.fromkeys(("title", "requirement", "hint", "why", "source", "group"), bad))
    for about in results["lessons"].values():
        about["title"] = bad
    results["environment"].update(kernel=bad, compiler=bad, command=bad)
    results["results"].append({**results["results"][0], "program": bad})
    return results


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    def shape_of(results: dict[str, Any]) -> list[str]:
        """The tags, less what only a further program or a longer list adds."""
        return [tag for tag, _ in read(results).tags if tag in ("script", "style", "img", "main")]

    results = hostile_everywhere()
    assert shape_of(results) == shape_of(sample_results.small())
    path = tmp_path / "index.html"
    page.write_page(results, path)
    text = path.read_text("utf-8")
    assert text.count("</script") == 3
    assert text.count("<!--") == 0
    assert "<" not in Reader(text).texts["script"][1]
    unseen = {sign for sign in text if sign != "\n" and unicodedata.category(sign) in page.HIDDEN}
    assert unseen == set()


def test_embedded_text_is_kept_as_it_was() -> None:
    results = hostile_everywhere()
    evidence = read(results).data["cells"][0]["evidence"]
    assert evidence["stderr"] == sample_results.HOSTILE + sample_results.NO_UTF8


@pytest.mark.parametrize(("text", "shown"), [
    ("plain, \uac00\n\tas it was", "plain, \uac00\n\tas it was"),
    ("\x1b[0m\r", "\\x1b[0m\\x0d"),
    ("\x85", "\\x85"),
    ("\u202e\u2028", "\\u{202e}\\u{2028}"),
    (b"\xff\xe9".decode("utf-8", "surrogateescape"), "\\xff\\xe9"),
    ("\ud800", "\\u{d800}"),
])
def test_visible(text: str, shown: str) -> None:
    assert page.visible(text) == shown


# Size, and how the file is written


def test_a_full_run_is_small_enough() -> None:
    assert len(page.render(sample_results.large()).encode()) < 3_000_000


@pytest.mark.parametrize("wanted", [900_000, 1_500_000])
def test_a_flood_of_evidence_is_cut_where_it_matters_least(wanted: int) -> None:
    results = sample_results.large(copies=4, lines=190)
    for result in results["results"]:
        result["evidence"]["stderr"] = "x" * 3000 + result["program"]
    text = str(page.embed(results, wanted))
    data = json.loads(text)
    assert len(text) <= wanted
    rows: dict[str, set[int]] = {"pass": set(), "fail": set()}
    for cell, result in zip(data["cells"], results["results"]):
        evidence = cell["evidence"]
        first, left_out = evidence["cut"]
        kept = len(evidence["transcript"])
        assert kept + left_out == len(result["evidence"]["transcript"])
        assert evidence["stderr"].endswith(result["program"])
        if result["verdict"] in rows:
            rows[result["verdict"]].add(kept)
        if kept:
            last = [row["t"] for row in result["evidence"]["transcript"][left_out + first:]]
            assert [row[0] / 1e6 for row in evidence["transcript"][first:]] == pytest.approx(last)
    assert max(rows["pass"]) < min(rows["fail"])


def test_a_cut_says_how_much_is_missing() -> None:
    assert page.shortened_start("abcdef", 4) == "[2 earlier characters in results.json]\ncdef"
    assert page.shortened_end("abcdef", 4) == "abcd\n[2 more characters in results.json]"
    assert page.shortened_end("abcd", 4) == page.shortened_start("abcd", 4) == "abcd"


def test_a_page_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report" / "index.html"
    page.write_page(sample_results.small(), path)
    before = path.read_bytes()
    broken = sample_results.small()
    broken["results"][0]["seconds"] = float("nan")
    with pytest.raises(ValueError):
        page.write_page(broken, path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["index.html"]


def test_a_page_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        page.write_page(sample_results.small(), path)
    assert [one.name for one in tmp_path.iterdir()] == ["index.html"]


def test_a_new_page_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text("old")
    page.write_page(sample_results.small(), path)
    assert path.read_text("utf-8") == page.render(sample_results.small())
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["index.html"]


# In a browser

BROWSER = os.environ.get("SOCKSTEP_BROWSER", "")
BROWSER_SECONDS = 60.0


class Browser:
    """A headless Chromium, spoken to in its own protocol over two pipes."""

    def __init__(self, home: Path) -> None:
        to_read, self.to_browser = os.pipe()
        self.from_browser, to_write = os.pipe()
        # The protocol's descriptors are 3 and 4, which pipe() may have given.
        script = 'exec 8<&"$1" 9>&"$2" 3<&8 4>&9; shift 2; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", str(to_read), str(to_write), BROWSER,
             "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--window-size=1400,1000", "--remote-debugging-pipe",
             f"--user-data-dir={home}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(to_read, to_write))
        os.close(to_read)
        os.close(to_write)
        self.number = 0
        self.session = ""
        self.unread = b""
        self.events: list[dict[str, Any]] = []
        target = next(one for one in self.ask("Target.getTargets")["targetInfos"]
                      if one["type"] == "page")
        self.session = self.ask(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def message(self) -> dict[str, Any]:
        deadline = time.monotonic() + BROWSER_SECONDS
        while b"\0" not in self.unread:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.from_browser], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            came = os.read(self.from_browser, 1 << 20)
            if not came:
                raise EOFError("the browser has ended")
            self.unread += came
        text, _, self.unread = self.unread.partition(b"\0")
        return json.loads(text)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        question = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            question["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(question).encode() + b"\0")
        while (answer := self.message()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, address: str) -> None:
        # By way of another page, since a new hash alone loads nothing.
        for step in ("about:blank", address):
            self.events.clear()
            loader = self.ask("Page.navigate", url=step)["loaderId"]
            while not any(one["method"] == "Page.lifecycleEvent"
                          and one["params"]["loaderId"] == loader
                          and one["params"]["name"] == "load" for one in self.events):
                self.events.append(self.message())

    def value(self, expression: str) -> Any:
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def complaints(self) -> list[dict[str, Any]]:
        self.value("0")
        return [one for one in self.events
                if one["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(BROWSER_SECONDS)
        os.close(self.to_browser)
        os.close(self.from_browser)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not BROWSER:
        pytest.skip("SOCKSTEP_BROWSER names no browser")
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


LEAK = "03-repeating-echo/server/server-6-interrupted/leak/descriptors"


def test_browser_shows_hostile_text_as_text(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    page.write_page(hostile_everywhere(), path)
    browser.open(f"{path.as_uri()}#{LEAK}")
    assert browser.complaints() == []
    assert browser.value("document.title") == "sockstep: 4 to mend"
    assert browser.value("document.querySelectorAll('img').length") == 0
    shown = browser.value("document.getElementById('evidence').textContent")
    assert "<img src=x onerror=" in shown and "\\x1b[31mred" in shown and "\\xff\\xfe caf\\xe9" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u2028]", shown)


def test_browser_goes_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    page.write_page(sample_results.small(), path)
    browser.open(path.as_uri())
    seen = []
    for key in ("n", "ArrowLeft", "ArrowDown", "Escape", "ArrowUp"):
        browser.press(key)
        seen.append((browser.value("location.hash"),
                     browser.value("document.activeElement.getAttribute('href')"),
                     browser.value("document.getElementById('evidence').hidden")))
    at = "#03-repeating-echo/server"
    assert seen == [
        (f"{at}/server-3-whole-send/echo/utf-8", f"{at}/server-3-whole-send/echo/utf-8", False),
        (f"{at}/server-2-in-turn/echo/utf-8", f"{at}/server-2-in-turn/echo/utf-8", False),
        (f"{at}/server-2-in-turn/echo/short-send", f"{at}/server-2-in-turn/echo/short-send", False),
        (at, f"{at}/server-2-in-turn/echo/short-send", True),
        (at, f"{at}/server-2-in-turn/echo/utf-8", True),
    ]
    assert browser.complaints() == []


def test_browser_filters(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    page.write_page(sample_results.small(), path)
    browser.open(path.as_uri())
    rows = "[...document.querySelectorAll('tr.case:not([hidden])')].length"
    assert browser.value(rows) == 16
    browser.press("/")
    browser.ask("Input.insertText", text="SO_REUSEADDR")
    assert browser.value(rows) == 1
    browser.press("Escape")
    browser.value("document.getElementById('only-wrong').click()")
    assert browser.value(rows) == 4
    assert browser.value("document.getElementById('shown').textContent") == "4 rows of 16"


def test_browser_opens_every_cell(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    page.write_page(sample_results.small(), path)
    browser.open(path.as_uri())
    titles = browser.value("""
        [...document.querySelectorAll('.grid a.v')].map((link) => {
            link.click();
            return document.querySelector('#evidence h2').textContent;
        })""")
    assert len(titles) == len(sample_results.small()["results"])
    assert set(titles) == {about["title"] for about in sample_results.CASES.values()}
    assert browser.complaints() == []
