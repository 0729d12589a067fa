"""The report on one dataset as a page: one file that loads nothing and runs nothing, for any browser and for paper."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.escaping import in_html
from harness.quality.report_charts import bin_names, histogram_chart, share_bar, summary
from harness.quality.report_rows import (
    flagged,
    histogram,
    label_counts,
    largest_clusters,
    lowest,
    scored,
    suspects,
)
from harness.quality.report_words import (
    Group,
    Score,
    Shown,
    family_of,
    flag_title,
    grouped,
    interval,
    number,
    percent,
    score_of,
)
from harness.values import Value

if TYPE_CHECKING:
    from harness.quality.report import DataReport

_NAME = 200
"""Characters of a name, a path or a label that are shown; of a text it is what `in_html` allows."""

_CARDS = (
    "self_bleu_4",
    "vendi_embeddings",
    "near_duplicates",
    "oracle_agreement",
    "label_errors_estimated",
    "mauve",
    "perplexity",
    "leakage_near_test_share",
    "words_median",
    "distinct_4",
    "label_entropy",
    "duplicates_normalised",
)
_MAX_CARDS = 8
"""The first of `_CARDS` that the report has."""

_TYPICAL, _EXTREMES, _SUSPECTS, _CLUSTERS, _MEMBERS, _FLAGGED, _LABELS = 5, 3, 15, 8, 4, 5, 40
"""How many of each a page shows: its size is bounded whatever the dataset's."""


def html_page(report: "DataReport") -> str:
    """The page as text that UTF-8 can hold; everything in it that is not written here is escaped."""
    sections = [
        ("numbers", "Key numbers", _cards(report)),
        ("distributions", "Distributions", _histograms(report)),
        ("labels", "Labels", _labels(report)),
        ("suspects", "Suspected labels", _suspects(report)),
        ("extremes", "Extremes", _extremes(report)),
        ("clusters", "Near duplicates", _clusters(report)),
        ("flags", "Flags", _flags(report)),
        ("measures", "All measures", "".join(map(_tier, grouped(report.values, report.missing)))),
        ("made-with", "Made with", _made_with(report)),
        ("reading", "How to read", _READING),
    ]
    sections = [(name, title, body) for name, title, body in sections if body]
    style = resources.files("harness.quality").joinpath("report.css").read_text(encoding="utf-8")
    # The style is named by its hash, so that nothing that might slip into the page could bring another.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections)
    bodies = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{body}</section>\n'
        for name, title, body in sections
    )
    title = in_html(report.title or "Untitled", _NAME)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}: report on a dataset</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the report</a>\n'
        f'<header><div class="wide"><p class="eyebrow">Report on a dataset</p><h1 dir="auto">{title}</h1>'
        f"{_facts(report)}</div></header>\n"
        f'<nav aria-label="Parts of the report"><ul class="wide">{links}</ul></nav>\n'
        f'<main id="main" class="wide">\n{bodies}</main>\n</body>\n</html>\n'
    )


def _facts(report: "DataReport") -> str:
    facts = [("Rows", f"{len(report.texts):,}"), ("File", _code(report.file))]
    if report.task is not None:
        facts.insert(1, ("Task", in_html(report.task, _NAME)))
    if report.labels is not None:
        facts.insert(-1, ("Labels", f"{len(label_counts(report)):,}"))
    return f'<dl class="facts">{"".join(f"<div><dt>{name}</dt><dd>{fact}</dd></div>" for name, fact in facts)}</dl>'


def _code(text: str, limit: int = _NAME) -> str:
    return f"<code>{in_html(text, limit)}</code>"


def _cards(report: "DataReport") -> str:
    by_name = {value.measure: value for value in report.values}
    found = [by_name[name] for name in _CARDS if name in by_name][:_MAX_CARDS]
    return f'<ul class="cards">{"".join(map(_card, found))}</ul>' if found else ""


def _card(value: Value) -> str:
    family = family_of(value.measure)
    bounds = interval(value)
    lines = [
        f'<h3>{in_html(family.title)}</h3><p class="big">{in_html(number(value.value, value.unit))}</p>',
        f'<p class="range">95 %: {in_html(bounds)}</p>' if bounds else "",
        f"<p>{in_html(family.says)}</p>",
        f'<p class="reading">{in_html(family.reading)}</p>' if family.reading else "",
        f'<p class="name">{_code(value.measure)}</p>',
    ]
    return f"<li>{''.join(lines)}</li>"


def _histograms(report: "DataReport") -> str:
    figures = [_figure(name, score, scores) for name, (score, scores) in scored(report).items()]
    return f'<div class="figures">{"".join(figures)}</div>' if any(figures) else ""


def _figure(name: str, score: Score, scores: "NDArray[np.float64]") -> str:
    bins = histogram(scores, score.log)
    if bins is None:
        return ""
    median = float(np.median(scores[np.isfinite(scores)]))
    in_words = in_html(summary(scores, score.unit))
    says = f"{score.says} {score.sides}".strip()
    names = bin_names(bins, score.unit)
    tails = [f"The {end} bar holds all of {names[index]}." for end, index in _tails(bins.below, bins.above)]
    rows = "".join(
        f'<tr><th scope="row">{in_html(bin_name)}</th><td>{count:,}</td></tr>'
        for bin_name, count in zip(names, bins.counts.tolist(), strict=True)
    )
    return (
        f"<figure><figcaption><h3>{in_html(score.title, _NAME)}</h3><p>{in_html(says)}</p></figcaption>"
        f"{histogram_chart(bins, score.unit, median, f'Histogram of {score.title}. {summary(scores, score.unit)}')}"
        f"<p>{in_words} {in_html(' '.join(tails))}</p>"
        f"<details><summary>The bars as numbers</summary>{_scroller('Bars of ' + score.title)}"
        f"<table><caption>{_code(name)}: texts per bar</caption><thead><tr>"
        f'<th scope="col">from, to</th><th scope="col">texts</th></tr></thead><tbody>{rows}</tbody></table></div>'
        "</details></figure>"
    )


def _tails(below: bool, above: bool) -> list[tuple[str, int]]:
    return [*([("first", 0)] if below else []), *([("last", -1)] if above else [])]


def _scroller(label: str) -> str:
    """The start of a box that scrolls by itself, by keyboard too, where a table is wider than the screen."""
    return f'<div class="scroller" role="region" tabindex="0" aria-label="{in_html(label, _NAME)}">'


def _labels(report: "DataReport") -> str:
    if report.labels is None:
        return ""
    counts = label_counts(report)
    n_rows = max(1, len(report.texts))
    rows = "".join(
        f'<tr><th scope="row"><bdi>{in_html(name, _NAME)}</bdi></th><td>{count:,}</td>'
        f'<td>{percent(count / n_rows)} %</td><td class="bar-cell">{share_bar(count / n_rows)}</td></tr>'
        for name, count in list(counts.items())[:_LABELS]
    )
    more = f"<p>And {len(counts) - _LABELS:,} more labels.</p>" if len(counts) > _LABELS else ""
    return (
        f"{_scroller('Rows per label')}<table><caption>Rows per label</caption><thead><tr>"
        '<th scope="col">label</th><th scope="col">rows</th><th scope="col">share</th>'
        f'<td class="bar-cell"></td></tr></thead><tbody>{rows}</tbody></table></div>{more}'
    )


def _suspects(report: "DataReport") -> str:
    found = suspects(report, _SUSPECTS)
    if found is None or not found[1]:
        return ""
    name, rows = found
    says = score_of(name)
    return (
        f"<p>{in_html(says.says)} The rows where it is lowest come first: read them before trusting, or dropping, "
        f"any.</p>{_texts(report, rows, [name])}"
    )


def _extremes(report: "DataReport") -> str:
    """Typicality in the open, other scores folded away."""
    parts = []
    found = scored(report)
    typicality = [name for name, (score, _) in found.items() if score.name == "typicality"]
    for name in [*typicality, *(name for name in found if name not in typicality)]:
        score, scores = found[name]
        count = _TYPICAL if name in typicality else _EXTREMES
        ends = [
            (score.lowest, lowest(scores, count, report.texts)),
            (score.highest, lowest(-scores, count, report.texts)),
        ]
        if not ends[0][1]:
            continue
        if name in typicality:
            ends.reverse()
        title = in_html(score.title, _NAME)
        columns = "".join(f"<div><h4>{in_html(end)}</h4>{_texts(report, rows, [name])}</div>" for end, rows in ends)
        pair = f'<div class="pair">{columns}</div>'
        if name in typicality:
            parts.append(f"<h3>{title}</h3><p>{in_html(score.says)}</p>{pair}")
        else:
            parts.append(f"<details><summary><h3>{title}</h3></summary>{pair}</details>")
    return "".join(parts)


def _clusters(report: "DataReport") -> str:
    if report.clusters is None:
        return ""
    clusters = largest_clusters(report.clusters)
    if not clusters:
        return "<p>No row nearly repeats another.</p>"
    in_clusters = sum(map(len, clusters))
    groups = "group holds" if len(clusters) == 1 else "groups hold"
    parts = [f"<p>{len(clusters):,} {groups} {in_clusters:,} rows that nearly repeat each other. The largest:</p>"]
    for place, cluster in enumerate(clusters[:_CLUSTERS]):
        more = f"<p>And {len(cluster) - _MEMBERS:,} more.</p>" if len(cluster) > _MEMBERS else ""
        parts.append(
            f"<details{' open' if place == 0 else ''}><summary><h3>{len(cluster):,} rows</h3></summary>"
            f"{_texts(report, cluster[:_MEMBERS])}{more}</details>"
        )
    return "".join(parts)


def _flags(report: "DataReport") -> str:
    parts = []
    for name, rows in flagged(report.per_text).items():
        if len(rows):
            share = percent(len(rows) / len(report.texts))
            parts.append(
                f"<details><summary><h3>{in_html(flag_title(name), _NAME)}</h3> "
                f"<span>{len(rows):,} rows, {share} %</span></summary>"
                f"<p>The first of them:</p>{_texts(report, rows[:_FLAGGED].tolist())}</details>"
            )
    return "".join(parts)


def _texts(report: "DataReport", rows: Iterable[int], scores: Sequence[str] = ()) -> str:
    return f'<ol class="texts">{"".join(_text(report, row, scores) for row in rows)}</ol>'


def _text(report: "DataReport", row: int, scores: Sequence[str]) -> str:
    meta = []
    if report.labels is not None:
        meta.append(f'<span class="chip"><bdi>{in_html(report.labels[row], 60)}</bdi></span>')
    for name in scores:
        score = score_of(name)
        short = (
            "confidence" if score.name in ("self_confidence", "oracle_probability") else score.name.replace("_", " ")
        )
        shown = number(float(report.per_text[name][row]), score.unit)
        # A unit such as `words` says what the number is.
        meta.append(f"<span>{in_html(shown if score.unit in shown.split() else f'{short} {shown}', _NAME)}</span>")
    meta.append(f'<span class="row">row {report.source_rows[row]:,}</span>')
    text = report.texts[row]
    body = in_html(text) if text.strip() else "<em>(empty)</em>"
    about = ""
    if report.contexts is not None:
        about = f'<p class="context" dir="auto">About: {in_html(report.contexts[row], 300)}</p>'
    return f'<li><p class="meta">{"".join(meta)}</p>{about}<blockquote dir="auto">{body}</blockquote></li>'


def _tier(group: Group) -> str:
    missing = "".join(
        f"<li>{_code(measure)} not available: {in_html(why)}</li>" for measure, why in group.missing.items()
    )
    families = "".join(map(_family, group.families))
    table = (
        f"{_scroller(group.title)}<table><caption>{in_html(group.title)}: values and their 95 % intervals</caption>"
        '<thead><tr><th scope="col">measure</th><td class="bar-cell"></td><th scope="col">value</th>'
        f'<th scope="col">interval</th></tr></thead>{families}</table></div>'
    )
    listed = f'<ul class="missing">{missing}</ul>' if missing else ""
    return f"<h3>{in_html(group.title)}</h3><p>{in_html(group.says)}</p>{table if families else ''}{listed}"


def _family(shown: Shown) -> str:
    family = shown.family
    reading = f' <span class="reading">{in_html(family.reading)}</span>' if family.reading else ""
    rows = "".join(
        f'<tr><th scope="row">{_code(value.measure)}</th><td class="bar-cell">{_bar(value)}</td>'
        f"<td>{in_html(number(value.value, value.unit), _NAME)}</td><td>{in_html(interval(value))}</td></tr>"
        for value in shown.values
    )
    return (
        '<tbody><tr><th colspan="4" scope="rowgroup">'
        f'<span class="family">{in_html(family.title, _NAME)}</span>{reading}'
        f'<span class="says">{in_html(family.says)}</span></th></tr>{rows}</tbody>'
    )


def _bar(value: Value) -> str:
    is_share = value.unit == "fraction" and 0 <= value.value <= 1
    return share_bar(value.value, value.low, value.high) if is_share else ""


def _made_with(report: "DataReport") -> str:
    facts = "".join(
        f"<div><dt>{in_html(name, _NAME)}</dt><dd>{_code(what, 2000)}</dd></div>"
        for name, what in report.made_with.items()
    )
    return f'<dl class="made">{facts}</dl>' if facts else ""


_READING = """<ul>
<li>Rows are counted from 0, as they stand in the file.</li>
<li>Texts longer than 600 characters are cut, which … shows. ⏎ stands for a line break, � for a character that cannot be
seen.</li>
<li>An interval is a 95 % interval of what was drawn at random or sampled; a number without one was computed from all
rows.</li>
<li>A name with <code>@</code>, such as <code>self_bleu_4@1000</code>, is a mean over random draws of so many rows. Many
measures change with the number of rows: compare datasets of different size by these only.</li>
<li>More varied is not better by itself: noise is varied too. Read a measure of variety beside one of correctness.</li>
</ul>
"""
