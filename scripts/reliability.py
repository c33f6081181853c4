"""Writes what fault programs have said into docs/reliability.md: reliability.py LOG SCALE, after `cargo test … -- --show-output`.

A line such as `R-01 held: 20000 jobs, …, seed 41` becomes a row, with its test and today's date; the rows of tests that did not run stay.
"""
import datetime
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/reliability.md"
BEGIN, END = "<!-- runs -->\n", "<!-- end of runs -->\n"
HEAD = "| Promise | Test | What held | Seed | Scale | Date |\n|---|---|---|--:|--:|---|\n"


def said(log):
    """What each test said, by promise, test and form of the line: one test may say several lines of one promise."""
    test, rows = "", {}
    for line in log.splitlines():
        if start := re.match(r"---- (\S+) stdout ----", line):
            test = start[1]
        elif held := re.match(r"(R-\d\d) held: (.*)", line):
            promise, text = held[1], held[2]
            seed = re.search(r", seed (\d+)$", text)
            text = text[: seed.start()] if seed else text
            rows[promise, test, re.sub(r"[\d.]+", "#", text)] = text, seed[1] if seed else ""
    return rows


def written(page):
    """The rows that are there."""
    rows = {}
    for line in page.split(BEGIN)[1].split(END)[0].splitlines()[2:]:
        promise, test, text, seed, scale, date = (cell.strip() for cell in line.strip("|").split("|"))
        rows[promise, test.strip("`"), re.sub(r"[\d.]+", "#", text)] = text, seed, scale, date
    return rows


def main():
    log, scale = pathlib.Path(sys.argv[1]).read_text(errors="replace"), sys.argv[2]
    new, page = said(log), PAGE.read_text()
    if not new:
        sys.exit("no test said that a promise held")
    today = datetime.date.today().isoformat()
    tests = {(promise, test) for promise, test, _ in new}
    rows = {key: row for key, row in written(page).items() if key[:2] not in tests}
    rows |= {key: (text.replace("|", "\\|"), seed, scale, today) for key, (text, seed) in new.items()}
    table = "".join(
        f"| {promise} | `{test}` | {text} | {seed} | {scale} | {date} |\n"
        for (promise, test, _), (text, seed, scale, date) in sorted(rows.items())
    )
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(before + BEGIN + HEAD + table + END + after)
    print(f"{len(new)} lines are in {PAGE.name}")


main()
