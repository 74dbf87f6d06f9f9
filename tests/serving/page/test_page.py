"""The page, in a browser."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from urllib.parse import quote

import pytest

import modicum as mo
from modicum.cli.evaluate import REPORT
from modicum.data.simulate import simulate_domains
from modicum.evaluation.compare import compare
from modicum.evaluation.comparison_rendering import findings
from modicum.evaluation.saved import load_report
from modicum.page import NOTHING
from modicum.serving.keys import Keys, add

NAMED = {
    "recommend": {"User", "How many", "Domain", "Add an event", "Chosen: i1", "Erase this user"},
    "runs": {"Run", "Beside it", "Metric", "sasrec"},
    "live": {"Ask 20 times", "API key", "Recommend"},
}
"""View -> names of some of what can be operated there."""

VIEWS = tuple(NAMED)
HOSTILE = '<img src=x onerror="window.struck=1"><script>window.struck=1</script>\'& שלום \u202e😀'

WANTING_CONTRAST = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((x) => x / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, at) => sum + x * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const found = parts(getComputedStyle(element).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return parts('255 255 255');
  };
  const wanting = [];
  for (const element of document.querySelectorAll('body *')) {
    const written = [...element.childNodes].some((x) => x.nodeType === 3 && x.data.trim());
    if (!written || !element.checkVisibility() || element.disabled) continue;
    const style = getComputedStyle(element);
    const [a, b] = [parts(element.closest('svg') ? style.fill : style.color), ground(element)]
      .map(light).sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) wanting.push(`${element.textContent}: ${(a + 0.05) / (b + 0.05)}`);
  }
  return wanting;
})()
"""


def ask(browser, user: str) -> None:
    """Type a user and ask, as a person would."""
    browser.value("document.getElementById('user').select()")
    browser.write(user)
    browser.press("Enter")
    browser.until(
        f"document.getElementById('answer-title').textContent == 'Recommended for ' + {json.dumps(user)}"
        " && !document.getElementById('items').ariaBusy"
    )


def add_event(browser, item: str) -> None:
    browser.value("document.getElementById('item').focus()")
    browser.write(item)
    browser.press("Enter")
    browser.until(f"{text('#status')}.startsWith('After ' + {json.dumps(item)})")


def text(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).textContent"


def texts(browser, selector: str) -> list[str]:
    found = f"[...document.querySelectorAll({json.dumps(selector)})].map((x) => x.textContent)"
    return browser.value(found)


def visit(browser, address: str, view: str) -> None:
    """Open a view with all that it can show."""
    if view == "recommend":
        browser.open(address)
        ask(browser, "everything")
        add_event(browser, "i3")
    elif view == "runs":
        browser.open(f"{address}#runs/sasrec/popularity")
        browser.until("document.querySelector('#figures table')")
    else:
        browser.open(f"{address}#live")
        browser.value("document.getElementById('measure').click()")
        browser.until(f"{text('#live-status')}.startsWith('Asked')")
        browser.until("document.querySelector('.tiles')")
    browser.value("document.querySelectorAll('details').forEach((x) => { x.open = true; })")


def test_a_user_is_answered_and_an_event_changes_the_list(browser, address, fitted):
    browser.open(address)
    ask(browser, "ann")
    assert "popularity: the model knows nothing" in browser.value(text("#source"))
    before = texts(browser, "#items .what > .id")
    add_event(browser, "i2")
    add_event(browser, "i1")
    expected = fitted.recommend([["i2", "i1"]], k=10)["item"].to_list()
    now = texts(browser, "#items .what > .id")
    assert now == expected != before
    assert browser.value(text("#source")) == "Ranked by the model, sasrec."
    assert texts(browser, "#events .id") == ["i1", "i2"]
    earlier = fitted.recommend([["i2"]], k=10)["item"].to_list()
    new = [item for item in expected if item not in earlier]
    up = [x for x in expected if x in earlier and expected.index(x) < earlier.index(x)]
    assert f"{len(new)} new, {len(up)} up" in browser.value(text("#status"))
    assert texts(browser, ".item:has(.new) .what > .id") == new
    assert texts(browser, ".item:has(.up) .what > .id") == up
    gone = [item for item in earlier if item not in (*expected, "i1")]
    assert texts(browser, "#gone .id") == gone


def test_a_history_that_is_typed_is_answered_and_not_kept(browser, address, fitted):
    browser.open(address)
    browser.value("document.querySelector('input[value=history]').click()")
    browser.value("document.getElementById('history').focus()")
    browser.write("i4\ni5\nnowhere")
    browser.value("document.getElementById('ask').requestSubmit()")
    browser.until("document.querySelectorAll('#items > li').length == 10")
    expected = fitted.recommend([["i4", "i5"]], k=10)["item"].to_list()
    assert texts(browser, "#items .what > .id") == expected
    assert "1 of the history's items is unknown" in browser.value(text("#source"))
    assert not browser.value("document.getElementById('past').checkVisibility()")
    browser.value("document.querySelector('#items button').click()")
    browser.until(f"{text('#status')}.startsWith('After')")
    assert browser.value("document.getElementById('history').value") == (
        f"i4\ni5\nnowhere\n{expected[0]}"
    )


def test_a_user_is_erased_after_a_question(browser, address):
    browser.open(address)
    ask(browser, "bob")
    add_event(browser, "i7")
    for answer, left in (("no", ["i7"]), ("yes", [])):
        browser.value("document.getElementById('erase').click()")
        assert "All events of bob" in browser.value(text("#confirm-text"))
        browser.value(f"document.querySelector('#confirm button[value={answer}]').click()")
        if answer == "yes":
            browser.until(f"{text('#status')} == '1 event of bob erased.'")
        history = "fetch('users/bob/history').then((x) => x.json())"
        assert [x["item"] for x in browser.value(history)["events"]] == left
    assert texts(browser, "#recent .id") == []


@contextmanager
def between(browser, script: str):
    """Let a script come between the page and the server: it makes ``fetch`` from ``real``."""
    source = f"const real = fetch; window.fetch = async (path, options) => {{ {script} }};"
    added = browser.send("Page.addScriptToEvaluateOnNewDocument", source=source)
    try:
        yield
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_reasons_are_those_of_the_server(browser, address):
    browser.open(address)
    ask(browser, "eve")
    assert texts(browser, ".because") == []
    add_event(browser, "i8")
    add_event(browser, "i9")
    body = json.dumps({"user": "eve", "explain": True})
    told = browser.value(
        "fetch('recommend', { method: 'POST', headers: { 'Content-Type': 'application/json' },"
        f" body: {json.dumps(body)} }}).then((x) => x.json())"
    )
    reasons = [reason for item in told["items"] for reason in item["because"]]
    reasons = [reason for reason in reasons if abs(reason["share"]) >= 0.005]
    assert {reason["item"] for reason in reasons} == {"i8", "i9"}
    assert texts(browser, ".because .id") == [reason["item"] for reason in reasons]
    shares = [
        int(share.removesuffix(" %").replace("\N{MINUS SIGN}", "-"))
        for share in texts(browser, ".because .share")
    ]
    assert shares == pytest.approx([100 * reason["share"] for reason in reasons], abs=0.51)
    widths = browser.value(
        "[...document.querySelectorAll('.part')].map((x) => parseFloat(x.getAttribute('width')))"
    )
    assert widths == pytest.approx([100 * abs(reason["share"]) for reason in reasons], abs=0.051)
    browser.value("document.getElementById('why').checked = false")
    ask(browser, "eve")
    browser.until("!document.querySelector('.because')")


def test_items_of_domains_are_named_with_them(browser, address):
    script = """
        const asked = options.body && JSON.parse(options.body);
        for (const [at, item] of (asked?.history ?? []).entries()) {
          if (item.domain) window.named = item;
          asked.history[at] = item.item ?? item;
        }
        const answer = await real(path, asked ? { ...options, body: JSON.stringify(asked) } : options);
        if (path !== "recommend") return answer;
        const told = await answer.json();
        for (const item of told.items) item.domain = "books";
        return new Response(JSON.stringify(told));"""
    with between(browser, script):
        browser.open(address)
        browser.until("document.querySelectorAll('#known-items option').length > 5")
        browser.value("document.querySelector('input[value=history]').click()")
        browser.value("document.getElementById('history').value = 'a: b\\nbooks: i4'")
        browser.value("document.getElementById('ask').requestSubmit()")
        browser.until("document.querySelectorAll('#items .tag').length == 10")
        assert browser.value("window.named") == {"item": "i4", "domain": "books"}
        first = texts(browser, "#items .what > .id")[0]
        browser.value("document.querySelector('#items button').click()")
        browser.until(f"{text('#status')}.startsWith('After')")
        assert browser.value("window.named") == {"item": first, "domain": "books"}


def test_a_model_that_reads_by_domain_is_asked_for_one(browser, served, tmp_path):
    """Its domains are known before the first answer, and the first of them is asked for."""
    encoder = {"method": "sasrec", "dim": 8, "layers": 1, "heads": 2}
    log = simulate_domains(60, 12, overlap=0.6, seed=0).log
    model = mo.MACD(encoder=encoder, length=8, epochs=1).fit(log, progress=False)
    folder = model.save(tmp_path / "model")
    with served(folder, tmp_path / "history.sqlite", runs=None) as address:
        browser.open(address)
        browser.until("document.querySelectorAll('#known-items option').length > 5")
        assert browser.value("document.getElementById('domain').value") == "d0"
        assert browser.value(
            "[...document.querySelectorAll('#domains option')].map((x) => x.value)"
        ) == ["d0", "d1"]
        browser.value("document.querySelector('input[value=history]').click()")
        browser.value("document.getElementById('history').value = 'd1: 14'")
        browser.value("document.getElementById('ask').requestSubmit()")
        browser.until("document.querySelectorAll('#items .tag').length > 5")
        top = model.recommend([[("d1", 14)]], domain="d0", k=10)["item"].to_list()
        assert texts(browser, "#items .what > .id") == [str(item) for item in top]
        browser.value("document.getElementById('domain').value = ''")
        browser.value("document.getElementById('ask').requestSubmit()")
        browser.until(f"{text('#status')}.includes('one of d0, d1')")
    assert ["422" in complaint for complaint in browser.complaints] == [True]
    browser.complaints.clear()


def test_a_server_that_only_predicts_has_no_view_of_recommendations(browser, address):
    script = """
        const answer = await real(path, options);
        if (path !== "page/about.json") return answer;
        return new Response(JSON.stringify({ ...(await answer.json()), recommends: false }));"""
    with between(browser, script):
        browser.open(f"{address}#recommend")
    assert texts(browser, "nav a") == ["Runs", "Live"]
    assert not browser.value("document.getElementById('view-recommend').checkVisibility()")


def test_a_run_shows_the_figures_of_its_report(browser, address, runs):
    browser.open(f"{address}#runs/sasrec")
    browser.until("document.querySelector('#figures table')")
    report = load_report(runs / "sasrec" / REPORT)
    rows = report.summary.filter(metric="ndcg@10").to_dicts()
    shown = texts(browser, "#figures tbody tr")
    assert shown == [
        f"{row['stratum']}{row['n']}{row['mean']:.4f}"
        + (NOTHING if row["low"] is None else f"[{row['low']:.4f}, {row['high']:.4f}]")
        for row in rows
    ]
    drawn = browser.value(
        "[...document.querySelectorAll('.track[role=img]')].map((x) => x.ariaLabel)"
    )
    assert [label.split(":")[0] for label in drawn] == [row["stratum"] for row in rows]
    assert f"{rows[0]['mean']:.4f} [{rows[0]['low']:.4f}" in drawn[0]
    browser.value(
        "(() => { const chosen = document.getElementById('metric'); chosen.value = 'mrr';"
        " chosen.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )
    mrr = report.summary.filter(metric="mrr", stratum="all")["mean"].item()
    assert f"{mrr:.4f}" in texts(browser, "#figures tbody tr")[0]
    assert "The audit of sasrec's data" in texts(browser, "#run h2")


def test_two_runs_stand_side_by_side_with_their_test(browser, address, runs):
    browser.open(f"{address}#runs/sasrec/popularity")
    browser.until("document.querySelector('.finding')")
    pair = {name: load_report(runs / name / REPORT) for name in ("sasrec", "popularity")}
    compared = compare(pair)
    assert texts(browser, ".finding") == findings(compared)
    assert texts(browser, ".legend bdi") == ["sasrec", "popularity"]
    verdicts = [row.split()[-3:] for row in texts(browser, "#run details table tbody tr")]
    assert len([x for x in verdicts if x[-1] == "better"]) == (
        compared.table["verdict"].str.ends_with("better").sum()
    )


def test_runs_that_cannot_be_compared_say_why(browser, address):
    browser.open(f"{address}#runs/sasrec/{quote('other split <b>')}")
    browser.until("document.querySelector('#run .problem')")
    assert "cannot be compared" in browser.value(text("#run .problem"))
    assert texts(browser, "#figures th")[2::2] == ["sasrec", "other split <b>"]
    (complaint,) = browser.complaints
    assert "422" in complaint
    browser.complaints.clear()


def test_the_live_view_measures_its_requests_and_reads_the_servers_metrics(browser, address):
    visit(browser, address, "live")
    rows = texts(browser, "#mine tbody tr")
    assert any(re.fullmatch(r"POST /recommend210[\d.]+ ms[\d.]+ ms", row) for row in rows)
    assert len(texts(browser, ".dots circle")) == 21
    assert [x.split("\n")[0] for x in texts(browser, ".tiles .what")] == [
        *("Requests", "Latency", "Under way", "Fallback"),
    ]
    before = browser.value(text(".tiles li .note"))
    browser.value("document.getElementById('measure').click()")
    browser.until(f"{text('.tiles li .note')} != {json.dumps(before)}")


def test_all_can_be_done_with_the_keyboard(browser, address):
    browser.open(address)

    def tab_to(condition: str) -> None:
        for _ in range(40):
            browser.press("Tab")
            if browser.value(f"Boolean(document.activeElement.matches({json.dumps(condition)}))"):
                ring = "getComputedStyle(document.activeElement).outlineStyle"
                assert browser.value(ring) != "none"
                return
        raise AssertionError(f"{condition} is not reached")

    tab_to("#user")
    browser.write("keys")
    browser.press("Enter")
    browser.until("document.querySelectorAll('#items > li').length == 10")
    tab_to("#items li:nth-child(2) button")
    browser.press("Enter")
    browser.until(f"{text('#status')}.startsWith('After')")
    browser.until("document.activeElement.matches('#items li:nth-child(2) button')")
    tab_to("#item")
    browser.write("i9")
    browser.press("Enter")
    browser.until(f"{text('#status')}.startsWith('After i9')")
    tab_to("#erase")
    browser.press("Enter")
    browser.until("document.activeElement.matches('#confirm button[value=no]')")
    browser.press("Escape")
    browser.until("document.activeElement.matches('#erase')")
    browser.value("document.querySelector('nav a').focus()")
    browser.press("Tab")
    browser.press("Enter")
    browser.until("document.activeElement.matches('#runs-title')")


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_needs_no_scrolling_sideways(browser, address, view):
    browser.size(360, 740)
    visit(browser, address, view)
    assert browser.value("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("view", VIEWS)
def test_what_can_be_operated_has_a_name_and_text_has_contrast(browser, address, view):
    visit(browser, address, view)
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    operated = {"button", "textbox", "combobox", "spinbutton", "checkbox", "radio", "link", "image"}
    found = [
        (node["role"]["value"].lower(), node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"].lower() in operated
    ]
    assert NAMED[view] <= {name for _, name in found}
    assert [role for role, name in found if not name.strip()] == []
    main = [node for node in nodes if node["role"]["value"] in ("main", "navigation", "banner")]
    assert len(main) == 3
    assert browser.value(
        "new Set([...document.querySelectorAll('[id]')].map((x) => x.id)).size"
    ) == (browser.value("document.querySelectorAll('[id]').length"))
    assert browser.value(WANTING_CONTRAST) == []
    browser.size(1280, 800, dark=True)
    assert browser.value(WANTING_CONTRAST) == []


def test_ids_are_shown_as_they_are_and_do_nothing(browser, address):
    browser.open(address)
    ask(browser, HOSTILE)
    add_event(browser, HOSTILE)
    assert texts(browser, "#events .id") == [HOSTILE]
    assert texts(browser, "#recent .id") == [HOSTILE]
    browser.value("document.getElementById('erase').click()")
    assert HOSTILE in browser.value(text("#confirm-text"))
    assert browser.value("window.struck ?? null") is None
    assert browser.value("document.querySelectorAll('main img, main script').length") == 0
    browser.press("Escape")


@pytest.mark.parametrize(
    ("deed", "refusal"),
    [
        ("document.body.innerHTML = '<b>x</b>'", "TypeError"),
        ("document.createElement('img').setAttribute('onerror', 'x')", "TypeError"),
        ("document.createElement('script').text = 'x'", "TypeError"),
        ("await fetch('http://127.0.0.1:9/')", "TypeError"),
    ],
)
def test_the_policy_refuses_markup_scripts_and_other_servers(browser, address, deed, refusal):
    browser.open(address)
    tried = f"(async () => {{ try {{ {deed}; }} catch (error) {{ return error.name; }} }})()"
    assert browser.value(tried) == refusal
    assert any("ContentSecurityPolicy" in x for x in browser.complaints)
    browser.complaints.clear()


def test_a_key_is_asked_for_and_kept_in_memory_only(browser, folder, tmp_path, served):
    key = add(tmp_path / "keys", "page")
    settings = {"keys": Keys(tmp_path / "keys")}
    with served(folder, tmp_path / "history.sqlite", runs=None, **settings) as address:
        browser.open(address)
        browser.until("document.getElementById('key-dialog').open")
        assert all("401" in complaint for complaint in browser.complaints)
        browser.complaints.clear()
        browser.value("document.getElementById('key').focus()")
        browser.write(key)
        browser.press("Enter")
        assert browser.value(text("#key-open")) == "API key in use"
        ask(browser, "ann")
        assert browser.value("localStorage.length + sessionStorage.length") == 0
        assert browser.send("Network.getCookies")["cookies"] == []
        assert key not in browser.value("document.documentElement.outerHTML")
        browser.value("location.hash = '#runs'")
        browser.until(f"{text('#runs-status')}.includes('--runs')")
