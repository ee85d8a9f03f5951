"""Plots as plain SVG: bars beside each other, and lines over a logarithmic axis."""
import html
import math

WIDTH, LEFT, ROW = 760, 230, 26
INK, FAINT, OWN, OTHER = "#222", "#bbb", "#1f6feb", "#8b949e"
LINES = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df")


def _text(x, y, words, anchor="start", size=12, colour=INK):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}">{html.escape(str(words))}</text>')


def _line(x1, y1, x2, y2, colour=FAINT, width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" stroke-width="{width}"/>')


def _page(height, title, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">')
    back = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, back, _text(12, 20, title, size=14), *parts, "</svg>", ""])


def bars(title, rows):
    """`rows` are (name, value, low, high, own); own ones stand out."""
    most = max(high for _, _, _, high, _ in rows) or 1
    scale = (WIDTH - LEFT - 90) / most
    parts = []
    for number, (name, value, low, high, own) in enumerate(rows):
        y = 40 + number * ROW
        width = value * scale
        parts.append(_text(LEFT - 8, y + 13, name, "end"))
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 8}" '
                     f'fill="{OWN if own else OTHER}"/>')
        middle = y + (ROW - 8) / 2
        parts.append(_line(LEFT + low * scale, middle, LEFT + high * scale, middle, INK, 2))
        parts.append(_text(LEFT + max(width, high * scale) + 6, y + 13, f"{value:g}"))
    return _page(50 + len(rows) * ROW, title, parts)


def _ticks(most):
    step = 10 ** math.floor(math.log10(most or 1))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if most / s <= 6)
    return [n * step for n in range(int(most / step) + 2)]


def _frame(ticks, y_of, left, right, bottom, label):
    parts = [_text(12, 36, label, size=11)]
    for tick in ticks:
        parts.append(_line(left, y_of(tick), right, y_of(tick)))
        parts.append(_text(left - 6, y_of(tick) + 4, f"{tick:g}", "end", 11))
    parts.append(_line(left, y_of(0), right, y_of(0), INK))
    return parts


def lines(title, label, series):
    """`series` is name -> [(x, value, low, high)]; x is on a logarithmic axis."""
    left, right, top, bottom = 60, WIDTH - 170, 50, 270
    points = [point for one in series.values() for point in one]
    first = math.log10(max(1, min(x for x, *_ in points)))
    last = max(math.log10(max(1, max(x for x, *_ in points))), first + 1)
    ticks = _ticks(max(high for *_, high in points))
    x_of = lambda x: left + (math.log10(max(1, x)) - first) / (last - first) * (right - left)
    y_of = lambda y: bottom - y / ticks[-1] * (bottom - top)
    parts = _frame(ticks, y_of, left, right, bottom, label)
    for power in range(math.ceil(first), math.floor(last) + 1):
        parts.append(_line(x_of(10 ** power), bottom, x_of(10 ** power), bottom + 5, INK))
        parts.append(_text(x_of(10 ** power), bottom + 20, f"{10 ** power:,}", "middle", 11))
    for number, (name, one) in enumerate(series.items()):
        colour = LINES[number % len(LINES)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y, _, _ in one)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, low, high in one:
            parts.append(_line(x_of(x), y_of(low), x_of(x), y_of(high), colour))
            parts.append(f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}"/>')
        parts.append(_text(right + 12, top + 12 + number * 18, name, size=11, colour=colour))
    return _page(305, title, parts)


def samples(title, label, points):
    """(x, value) on plain axes, x from 0."""
    left, right, top, bottom = 60, WIDTH - 40, 50, 250
    most = max(x for x, _ in points) or 1
    ticks = _ticks(max(y for _, y in points))
    x_of = lambda x: left + x / most * (right - left)
    y_of = lambda y: bottom - y / ticks[-1] * (bottom - top)
    parts = _frame(ticks, y_of, left, right, bottom, label)
    for x, _ in points[::max(1, len(points) // 5)]:
        parts.append(_text(x_of(x), bottom + 20, f"{x:,}", "middle", 11))
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{OWN}" stroke-width="2"/>')
    return _page(285, title, parts)
