"""Bars as SVG, drawn from the tables of docs/performance.md: no library, and one look for all.

A picture says what its table says; who wants the numbers reads those.
"""
import pathlib
import re
from xml.sax.saxutils import escape

# Legible on a light and on a dark page.
COLOURS = {"kernel": "#3b82c4", "fastapi": "#4f9a5a", "loco": "#c4843b", "others": "#8a8f98"}
TEXT, LINE = "#7a7f87", "#9aa0a8"
BAR, GAP, GROUP, LEFT, WIDTH = 14, 3, 12, 210, 760


def draw(page: pathlib.Path):
    """All pictures, beside the page, for the parts that have figures."""
    folder = page.parent / "performance"
    folder.mkdir(exist_ok=True)
    text = page.read_text()
    for name, picture in (("requests", ratios(text)), ("peers", rates(text)), ("jobs", jobs(text))):
        if picture:
            (folder / f"{name}.svg").write_text(picture)


def table(page: str, part: str) -> list[dict[str, str]]:
    """The rows of a part, by the names of its columns."""
    section = page.partition(f"<!-- {part} -->")[2].partition(f"<!-- end of {part} -->")[0]
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line)) for line in lines[2:]] if lines else []


def number(text: str) -> float:
    return float(text.replace(",", "") or 0)


def what(row: dict[str, str]) -> str:
    return f"{row['database']} {row['request']}, {row['conns']} conn."


def ratios(page: str) -> str | None:
    rows = table(page, "requests")
    groups = [(what(row), [("kernel", number(row["ratio"]), row["ratio"])]) for row in rows]
    return bars("Requests per second, as a share of a hand-written program's", groups, {"kernel": "kernel"}, mark=1.0) if rows else None


def rates(page: str) -> str | None:
    """Of each request the kernel's rate, and that of each service beside it scaled to the same run of the kernel."""
    groups: dict[str, list] = {}
    for peer in ("fastapi", "loco"):
        for row in table(page, peer):
            group = groups.setdefault(what(row), [("kernel", 1.0, "1")])
            group.append((peer, 1 / number(row["ratio"]), f"1/{number(row['ratio']):.1f}" if number(row["ratio"]) >= 1 else f"{1 / number(row['ratio']):.2f}"))
    names = {"kernel": "kernel", "fastapi": "FastAPI", "loco": "Loco"}
    return bars("Requests per second, as a share of the kernel's", list(groups.items()), names) if groups else None


def jobs(page: str) -> str | None:
    rows = table(page, "jobs")
    groups = [(row["queue"], [("kernel" if "kernel" in row["queue"] else "others", number(row["processed/s"]), row["processed/s"])]) for row in rows]
    return bars("Jobs processed per second", groups, {}) if rows else None


def bars(title: str, groups: list, names: dict[str, str], mark: float | None = None) -> str:
    """Groups of bars: each a label, and of each bar who, how much, and how that is written."""
    most = max([bar[1] for _, group in groups for bar in group] + [mark or 0])
    scale = (WIDTH - LEFT - 90) / most
    y, parts = 54, []
    for label, group in groups:
        height = len(group) * (BAR + GAP) - GAP
        parts.append(words(LEFT - 8, y + height / 2 + 4, label, "end"))
        for who, value, written in group:
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{max(value * scale, 1):.1f}" height="{BAR}" rx="2" fill="{COLOURS[who]}"/>')
            parts.append(words(LEFT + value * scale + 6, y + BAR - 3, written))
            y += BAR + GAP
        y += GROUP - GAP
    if mark:
        parts.append(f'<line x1="{LEFT + mark * scale:.1f}" y1="44" x2="{LEFT + mark * scale:.1f}" y2="{y}" stroke="{LINE}" stroke-dasharray="3 3"/>')
    x = LEFT
    for who, name in names.items():
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" rx="2" fill="{COLOURS[who]}"/>')
        parts.append(words(x + 15, 39, name))
        x += 30 + 8 * len(name)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 4}" width="{WIDTH}" height="{y + 4}" role="img" aria-label="{escape(title)}"'
    body = "\n".join([words(LEFT, 18, title, weight="600"), *parts])
    return f'{head} font-family="system-ui, sans-serif" font-size="12">\n<title>{escape(title)}</title>\n{body}\n</svg>\n'


def words(x: float, y: float, text: str, anchor: str = "start", weight: str = "400") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{TEXT}" text-anchor="{anchor}" font-weight="{weight}">{escape(re.sub("  +", " ", text))}</text>'
