"""What stands, sails and flies in a scene: trees, boats, houses, towers, people, birds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from beholder.steering.generators.scene_drawing import solid, water

if TYPE_CHECKING:
    from beholder.steering.generators.scene_drawing import Canvas

_FOLIAGE = {"spring": (112, 166, 78), "summer": (54, 112, 52), "autumn": (204, 112, 44), "winter": (92, 108, 104)}
_TALL = {"trees": 0.34, "boats": 0.22, "houses": 0.19, "towers": 0.46, "people": 0.16}  # of the picture's height, when near
_LARGER = {"wide": 0.7, "close": 1.55, "symmetric": 1.0, "thirds": 1.0}
_LAMP = (255, 220, 140)


def draw_subjects(canvas: Canvas) -> None:
    """All of them, from far to near."""
    scene, rng = canvas.scene, canvas.rng
    if scene.boats and scene.ground != "sea":
        water(canvas, canvas.ground + 0.08 * (canvas.height - canvas.ground), canvas.ground + 0.52 * (canvas.height - canvas.ground))
    standing = []
    for kind in _TALL:
        number = getattr(scene, kind)
        for x in _places(canvas, number):
            near = rng.uniform(0.05, 0.75)
            if scene.ground == "sea":
                near = 0.2 + 0.5 * near if kind == "boats" else rng.uniform(0.8, 0.95)
            elif kind == "boats":
                near = rng.uniform(0.2, 0.42)
            elif scene.boats and near < 0.55:  # not into the lake
                near = rng.uniform(0.6, 0.9)
            standing.append((near, x, kind))
    for near, x, kind in sorted(standing):
        size = canvas.height * _TALL[kind] * _LARGER[scene.composition] * (0.3 + 0.7 * near) * rng.uniform(0.85, 1.15)
        foot = canvas.ground + (0.06 + 0.88 * near) * (canvas.height - canvas.ground)
        far = 0.3 * (1 - near)
        if kind == "trees":
            tree(canvas, x, foot, size, kind=_tree_kind(canvas), far=far)
        else:
            _DRAWN[kind](canvas, x, foot, size, far)
    for x in _places(canvas, scene.birds):
        _bird(canvas, x, canvas.ground * rng.uniform(0.12, 0.7), canvas.height * 0.028 * _LARGER[scene.composition] * rng.uniform(0.6, 1.2))


def _places(canvas: Canvas, number: int) -> list[float]:
    """[number] x in pixels, as the composition wants them."""
    rng, composition = canvas.rng, canvas.scene.composition
    if composition == "symmetric":
        offsets = np.linspace(0.12, 0.42, max(1, number // 2))[: number // 2]
        places = [0.5 + sign * offset for offset in offsets for sign in (-1, 1)] + [0.5] * (number % 2)
    elif composition == "thirds":
        third = rng.choice([1 / 3, 2 / 3])
        places = (third + rng.normal(0, 0.07, number)).tolist()
    else:
        places = ((np.arange(number) + rng.uniform(0.15, 0.85, number)) / max(1, number) * 0.9 + 0.05).tolist()
    return [float(np.clip(place, 0.04, 0.96)) * canvas.width for place in places]


def foliage(canvas: Canvas) -> np.ndarray:
    """The colour of one tree's leaves in this season."""
    return np.array(_FOLIAGE[canvas.scene.season], dtype=float) * canvas.rng.uniform(0.85, 1.15)


def _tree_kind(canvas: Canvas) -> str:
    return {"sea": "palm", "desert": "cactus", "mountains": "conifer"}.get(canvas.scene.ground, "round")


def tree(canvas: Canvas, x: float, foot: float, tall: float, *, kind: str, far: float) -> None:
    """A tree with its foot at (x, foot)."""
    pen, leaves, season = canvas.pen, foliage(canvas), canvas.scene.season
    wood = canvas.lit((96, 70, 50), far=far)
    light, dark = canvas.lit(leaves, far=far), canvas.lit(leaves, far=far, shade=0.68)
    if kind == "conifer":
        light, dark = (
            canvas.lit(leaves * 0.4 + np.array((34, 78, 50)) * 0.6, far=far),
            canvas.lit(leaves * 0.3 + np.array((20, 48, 34)) * 0.6, far=far),
        )
        pen.rectangle((x - tall * 0.025, foot - tall * 0.16, x + tall * 0.025, foot), fill=wood)
        for top, low, half in ((1.0, 0.58, 0.13), (0.8, 0.34, 0.19), (0.58, 0.1, 0.25)):
            pen.polygon([(x, foot - top * tall), (x - half * tall, foot - low * tall), (x + half * tall, foot - low * tall)], fill=light)
            pen.polygon([(x, foot - top * tall), (x + 0.02 * tall, foot - low * tall), (x + half * tall, foot - low * tall)], fill=dark)
            if season == "winter":
                tip = top - 0.4 * (top - low)
                pen.polygon(
                    [(x, foot - top * tall), (x - half * 0.4 * tall, foot - tip * tall), (x + half * 0.4 * tall, foot - tip * tall)],
                    fill=canvas.lit((240, 244, 250), far=far),
                )
    elif kind == "palm":
        lean = tall * 0.18 * (1 if x < canvas.width / 2 else -1)
        pen.line(
            [(x, foot), (x + lean * 0.4, foot - tall * 0.4), (x + lean, foot - tall * 0.82)], fill=wood, width=max(2, int(tall * 0.045))
        )
        for angle in np.linspace(-0.25, 3.4, 8).tolist():
            dx, dy = np.cos(angle) * tall * 0.32, np.sin(angle) * tall * 0.2
            crown = (x + lean, foot - tall * 0.82)
            pen.line(
                [crown, (crown[0] + dx * 0.6, crown[1] - dy - tall * 0.03), (crown[0] + dx, crown[1] - dy * 0.35 + tall * 0.06)],
                fill=light if dx < 0 else dark,
                width=max(2, int(tall * 0.035)),
            )
    elif kind == "cactus":
        green = canvas.lit((84, 128, 70), far=far)
        thick = max(2, int(tall * 0.11))
        pen.line([(x, foot), (x, foot - tall * 0.62)], fill=green, width=thick)
        for side, low, high in ((-1, 0.22, 0.5), (1, 0.32, 0.58)):
            pen.line(
                [(x, foot - low * tall), (x + side * tall * 0.16, foot - low * tall), (x + side * tall * 0.16, foot - high * tall)],
                fill=green,
                width=max(2, thick * 2 // 3),
                joint="curve",
            )
    else:
        pen.polygon(
            [
                (x - tall * 0.035, foot),
                (x + tall * 0.035, foot),
                (x + tall * 0.015, foot - tall * 0.5),
                (x - tall * 0.015, foot - tall * 0.5),
            ],
            fill=wood,
        )
        bare = season == "winter"
        blossom = canvas.lit((246, 196, 212), far=far) if season == "spring" and canvas.rng.random() < 0.5 else None
        crowns = ((0.0, 0.56, 0.24), (-0.17, 0.48, 0.18), (0.18, 0.5, 0.18), (0.02, 0.78, 0.2))
        for dx, up, size in crowns:
            at = (x + dx * tall, foot - up * tall)
            if bare:
                pen.line([(x, foot - tall * 0.3), (at[0], at[1] - size * tall * 0.6)], fill=wood, width=max(1, int(tall * 0.02)))
                pen.ellipse(
                    (at[0] - size * 0.7 * tall, at[1] - size * tall, at[0] + size * 0.7 * tall, at[1] + 0),
                    fill=canvas.lit((214, 222, 232), far=far),
                )
                continue
            pen.ellipse((at[0] - size * tall, at[1] - size * tall, at[0] + size * tall, at[1] + size * tall), fill=dark)
        for dx, up, size in () if bare else crowns:
            at, less = (x + (dx - 0.045) * tall, foot - (up + 0.045) * tall), size * 0.78
            pen.ellipse((at[0] - less * tall, at[1] - less * tall, at[0] + less * tall, at[1] + less * tall), fill=blossom or light)


def _boat(canvas: Canvas, x: float, foot: float, tall: float, far: float) -> None:
    pen, side = canvas.pen, 1 if canvas.rng.random() < 0.5 else -1
    hull = ((150, 60, 50), (240, 240, 236), (50, 74, 110))[int(canvas.rng.integers(3))]
    for step in range(4):
        half = tall * (0.34 - 0.05 * step)
        pen.line(
            (x - half, foot + tall * (0.05 + 0.05 * step), x + half, foot + tall * (0.05 + 0.05 * step)),
            fill=canvas.lit((40, 70, 92), far=far),
            width=max(1, int(tall * 0.02)),
        )
    pen.polygon(
        [
            (x - tall * 0.42, foot - tall * 0.12),
            (x + tall * 0.42, foot - tall * 0.12),
            (x + tall * 0.3, foot + tall * 0.03),
            (x - tall * 0.32, foot + tall * 0.03),
        ],
        fill=canvas.lit(hull, far=far),
    )
    pen.line((x, foot - tall * 0.1, x, foot - tall), fill=canvas.lit((90, 70, 56), far=far), width=max(1, int(tall * 0.025)))
    pen.polygon(
        [
            (x + side * tall * 0.03, foot - tall * 0.97),
            (x + side * tall * 0.03, foot - tall * 0.18),
            (x + side * tall * 0.38, foot - tall * 0.18),
        ],
        fill=canvas.lit((250, 248, 240), far=far),
    )
    pen.polygon(
        [
            (x - side * tall * 0.03, foot - tall * 0.85),
            (x - side * tall * 0.03, foot - tall * 0.18),
            (x - side * tall * 0.26, foot - tall * 0.18),
        ],
        fill=canvas.lit((222, 216, 204), far=far),
    )


def _house(canvas: Canvas, x: float, foot: float, tall: float, far: float) -> None:
    pen, rng = canvas.pen, canvas.rng
    wall = ((236, 226, 206), (206, 150, 120), (226, 216, 220))[int(rng.integers(3))]
    roof = ((158, 66, 52), (96, 76, 74), (120, 88, 60))[int(rng.integers(3))] if canvas.scene.season != "winter" else (240, 244, 250)
    left, right, eaves = x - tall * 0.5, x + tall * 0.5, foot - tall * 0.55
    pen.rectangle((left, eaves, right, foot), fill=canvas.lit(wall, far=far))
    pen.rectangle((x + tall * 0.1, eaves, right, foot), fill=canvas.lit(wall, far=far, shade=0.8))
    pen.polygon(
        [(left - tall * 0.08, eaves), (x - tall * 0.25, foot - tall), (x + tall * 0.3, foot - tall), (right + tall * 0.08, eaves)],
        fill=canvas.lit(roof, far=far),
    )
    pen.rectangle((x + tall * 0.14, foot - tall * 1.08, x + tall * 0.22, foot - tall * 0.9), fill=canvas.lit((130, 84, 70), far=far))
    window = solid(np.array(_LAMP)) if canvas.dark or canvas.scene.time == "sunset" else canvas.lit((86, 116, 140), far=far)
    for dx in (-0.32, 0.3):
        pen.rectangle((x + (dx - 0.08) * tall, foot - tall * 0.42, x + (dx + 0.08) * tall, foot - tall * 0.22), fill=window)
    pen.rectangle((x - tall * 0.1, foot - tall * 0.34, x + tall * 0.04, foot), fill=canvas.lit((92, 62, 48), far=far))


def _tower(canvas: Canvas, x: float, foot: float, tall: float, far: float) -> None:
    pen = canvas.pen
    for step in range(6):
        low, high = foot - tall * 0.8 * step / 6, foot - tall * 0.8 * (step + 1) / 6
        wide, narrow = tall * (0.115 - 0.009 * step), tall * (0.115 - 0.009 * (step + 1))
        colour = (240, 238, 232) if step % 2 == 0 else (196, 62, 54)
        pen.polygon([(x - wide, low), (x + wide, low), (x + narrow, high), (x - narrow, high)], fill=canvas.lit(colour, far=far))
        pen.polygon(
            [(x + wide * 0.3, low), (x + wide, low), (x + narrow, high), (x + narrow * 0.3, high)],
            fill=canvas.lit(colour, far=far, shade=0.78),
        )
    pen.rectangle((x - tall * 0.085, foot - tall * 0.83, x + tall * 0.085, foot - tall * 0.79), fill=canvas.lit((70, 70, 76), far=far))
    lamp = _LAMP if canvas.dark or canvas.scene.time != "noon" else canvas.lit((200, 214, 220), far=far)
    pen.rectangle((x - tall * 0.05, foot - tall * 0.92, x + tall * 0.05, foot - tall * 0.83), fill=lamp)
    pen.polygon(
        [(x - tall * 0.07, foot - tall * 0.92), (x + tall * 0.07, foot - tall * 0.92), (x, foot - tall)],
        fill=canvas.lit((170, 56, 50), far=far),
    )


def _person(canvas: Canvas, x: float, foot: float, tall: float, far: float) -> None:
    pen, stride = canvas.pen, tall * canvas.rng.uniform(0.05, 0.14)
    dark = canvas.lit((40, 38, 46), far=far * 0.6)
    coat = canvas.lit(((150, 60, 56), (52, 66, 104), (60, 58, 62), (176, 150, 90))[int(canvas.rng.integers(4))], far=far)
    shadow = canvas.lit((70, 66, 70), far=far)
    pen.ellipse((x - tall * 0.22, foot - tall * 0.025, x + tall * 0.22, foot + tall * 0.025), fill=shadow)
    for side in (-1, 1):
        pen.line((x, foot - tall * 0.45, x + side * stride, foot), fill=dark, width=max(2, int(tall * 0.08)))
    pen.polygon(
        [
            (x - tall * 0.11, foot - tall * 0.82),
            (x + tall * 0.11, foot - tall * 0.82),
            (x + tall * 0.14, foot - tall * 0.38),
            (x - tall * 0.14, foot - tall * 0.38),
        ],
        fill=coat,
    )
    pen.ellipse((x - tall * 0.075, foot - tall, x + tall * 0.075, foot - tall * 0.84), fill=dark)


def _bird(canvas: Canvas, x: float, y: float, size: float) -> None:
    dark = canvas.lit((40, 42, 52), far=0.25)
    points = [
        (x - size, y - size * 0.35),
        (x - size * 0.45, y - size * 0.5),
        (x, y),
        (x + size * 0.45, y - size * 0.5),
        (x + size, y - size * 0.35),
    ]
    canvas.pen.line(points, fill=dark, width=max(1, int(size * 0.22)), joint="curve")


_DRAWN = {"boats": _boat, "houses": _house, "towers": _tower, "people": _person}
