"""A curve of a few points as SVG."""

import math

WIDTH, HEIGHT = 860, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 40, 45
COLORS = ["#0b6", "#c33"]


def short(value):
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def draw(title, x_title, rows, names, log):
    """Lines through the `names` of rows over their `x_title`, from 0 upward."""
    xs = [row[x_title] for row in rows]
    top = max(row[name] for row in rows for name in names) * 1.1
    scale = (lambda x: math.log(max(x, 1))) if log else (lambda x: x)
    low, high = scale(xs[0]), scale(xs[-1])

    def at(x, y):
        right = LEFT + (scale(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        return right, HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="20">{title}</text>',
    ]
    for step in range(6):
        y = at(xs[0], top * step / 5)[1]
        svg.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        svg.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * step / 5:.2g}</text>'
        )
    for x in xs:
        place = at(x, 0)
        svg.append(
            f'<text x="{place[0]:.1f}" y="{place[1] + 18:.1f}" text-anchor="middle">{short(x)}</text>'
        )
    svg.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{x_title}</text>')
    for number, (name, color) in enumerate(zip(names, COLORS)):
        points = " ".join("{:.1f},{:.1f}".format(*at(row[x_title], row[name])) for row in rows)
        svg.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{points}"/>')
        svg.append(
            f'<text x="{WIDTH - RIGHT - 260 + 140 * number}" y="20" fill="{color}">{name}</text>'
        )
    return "\n".join([*svg, "</svg>"]) + "\n"
