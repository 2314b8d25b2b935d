"""Made-up datasets in the published layouts of PARA, LAPIS, EVA and FLICKR-AES: real names of files, columns and values, random content.

Every score follows the look of its image (brightness), a rater's leniency and one taste that hangs on the profile (who likes warm
colours), so that there is something to learn. The same arguments give the same bytes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 36)
AGES = ("18-21", "22-25", "26-29", "30-34", "35-40")
EDUCATION = ("junior_college", "university", "senior_high_school", "technical_secondary_school", "junior_high_school")
EXPERIENCE = ("beginner", "competent", "proficient", "expert")
SEMANTIC = ("animal", "plant", "scene", "building", "portrait", "food", "still_life", "night_scene", "others")
NATIONALITIES = ("british", "south african", "american", "belgian", "northern irish", "polish")
LAPIS_GENDERS = ("female", "male", "non-binary", "other/would prefer not to disclose")
LAPIS_EDUCATION = ("primary education", "secondary education", "Bachelor's or equivalent", "Master's or equivalent", "Doctorate")
COLOUR_BLIND = ("No", "No", "No", "Yes, but I still perceive colors")
STYLES = ("Abstract_Expressionism", "Baroque", "Impressionism", "Pop_Art")
GENRES = ("abstract", "landscape", "portrait", "still life")


@dataclass(frozen=True)
class World:
    """Looks, tastes and the pairs that were rated.

    Args:
        bright, warm: [n_images] 0..1, what one sees in an image.
        trait: [n_raters] 0..1, what the profile tells; above .5 a rater likes warm images, below cold ones.
        pairs: [n_pairs, 2] (rater, image) indices, in random order.
        level: [n_pairs] 0..1, how much this rater likes this image.
    """

    bright: np.ndarray
    warm: np.ndarray
    trait: np.ndarray
    pairs: np.ndarray
    level: np.ndarray
    random: np.random.Generator


def make_world(*, n_raters: int, n_images: int, per_rater: int | None, seed: int) -> World:
    """Draw a world; each rater rates `per_rater` random images (all of them if None)."""
    random = np.random.default_rng(seed)
    bright, warm, trait = random.random(n_images), random.random(n_images), random.random(n_raters)
    lenient = random.normal(0, 0.06, n_raters)
    shown = [random.permutation(n_images)[: per_rater or n_images] for _ in range(n_raters)]
    pairs = np.array([(rater, image) for rater, images in enumerate(shown) for image in images], dtype=np.int64).reshape(-1, 2)
    pairs = pairs[random.permutation(len(pairs))]
    rater, image = pairs.T
    taste = 1.2 * (trait[rater] - 0.5) * (warm[image] - 0.5)
    level = 0.2 + 0.6 * bright[image] + taste + lenient[rater] + random.normal(0, 0.05, len(pairs))
    return World(bright, warm, trait, pairs, np.clip(level, 0, 1), random)


def make_para(
    root: Path,
    *,
    n_raters: int = 12,
    n_images: int = 20,
    seed: int = 0,
    per_rater: int | None = None,
    raters: Sequence[str] | None = None,
) -> Path:
    """PARA in `root`: annotation/PARA-Images.csv, -UserInfo.csv, -GiaaTrain.csv, -GiaaTest.csv, imgs/session1/iaa_pub1_.jpg, ...

    The planted taste hangs on personality-O.

    Args:
        per_rater: images that each rater rates; all if None.
        raters: their ids; made up if None.

    Returns:
        `root`.
    """
    world = make_world(n_raters=n_raters, n_images=n_images, per_rater=per_rater, seed=seed)
    pick = world.random.choice
    ids = list(raters) if raters is not None else [f"{'AB'[i % 2]}{0x10000 + 7919 * i:06x}" for i in range(n_raters)]
    names = [f"iaa_pub{i + 1}_.jpg" for i in range(n_images)]
    sessions = [f"session{1 + i // 10}" for i in range(n_images)]
    semantic = [str(pick(SEMANTIC)) for _ in names]
    for i, name in enumerate(names):
        _photo(root / "imgs" / sessions[i] / name, world, i)
    noisy = np.clip(world.level[:, None] + world.random.normal(0, 0.12, (len(world.level), 8)), 0, 1)
    _write(
        root / "annotation" / "PARA-Images.csv",
        "sessionId,imageName,userId,aestheticScore,qualityScore,compositionScore,colorScore,dofScore,contentScore,lightScore,"
        "isObjectEmphasis,imgEmotion,difficultyOfJudgment,contentPreference,willingnessToShare,semantic",
        [
            [
                *(sessions[image], names[image], ids[rater], _half(level)),
                *(_five(value) for value in beside[:6]),
                *(int(pick(2)), int(pick(8)), int(pick([-1, 0, 1]))),
                *(_five(value) for value in beside[6:]),
                semantic[image],
            ]
            for (rater, image), level, beside in zip(world.pairs, world.level, noisy, strict=True)
        ],
    )
    _write(
        root / "annotation" / "PARA-UserInfo.csv",
        "userId,age,gender,EducationalLevel,artExperience,photographyExperience,"
        "personality-E,personality-A,personality-N,personality-O,personality-C",
        [
            [
                *(ids[i], pick(AGES), pick(["female", "male"]), pick(EDUCATION), pick(EXPERIENCE), pick(EXPERIENCE)),
                *(int(pick(9)) + 1 for _ in range(3)),
                *(1 + round(8 * world.trait[i]), int(pick(9)) + 1),
            ]
            for i in range(n_raters)
        ],
    )
    _para_giaa(root / "annotation", names=names, sessions=sessions, semantic=semantic, world=world)
    return root


def make_lapis(
    root: Path,
    *,
    layout: str = "a",
    n_raters: int = 12,
    n_images: int = 20,
    seed: int = 0,
    per_rater: int | None = None,
    raters: Sequence[str] | None = None,
) -> Path:
    """LAPIS in `root`: layout "a" has annotation/LAPIS_PIAA.csv, "b" annotation/LAPIS_individualratings_metaANDdemodata.csv and the lists.

    The planted taste hangs on the art interest (VAIAK).

    Args:
        per_rater: images that each rater rates; all if None.
        raters: their ids; made up if None.

    Returns:
        `root`.
    """
    world = make_world(n_raters=n_raters, n_images=n_images, per_rater=per_rater, seed=seed)
    pick = world.random.choice
    ids = list(raters) if raters is not None else [str(3 + 7 * i) for i in range(n_raters)]
    names = [f"artist-{i % 7}_untitled-{i + 1}-19{10 + i % 80}.jpg" for i in range(n_images)]
    styles, genres = [str(pick(STYLES)) for _ in names], [str(pick(GENRES)) for _ in names]
    for i, name in enumerate(names):
        _photo(root / "images" / name, world, i)
    people = [
        (18 + int(pick(53)), pick(NATIONALITIES), pick(LAPIS_GENDERS), pick(LAPIS_EDUCATION), pick(COLOUR_BLIND)) for _ in range(n_raters)
    ]
    items = np.clip(np.round(6 * world.trait[:, None] + world.random.normal(0, 0.5, (n_raters, 11))), 0, 6).astype(int)
    scores = np.round(100 * world.level).astype(int)
    if layout == "a":
        _write(
            root / "annotation" / "LAPIS_PIAA.csv",
            "participant_id,image_id,image_filename,rating,age,nationality,demo_gender,demo_edu,demo_colorblind,Art Interest VAIAK",
            [
                [ids[rater], image, names[image], score, *people[rater], f"{items[rater].mean():.6f}"]
                for (rater, image), score in zip(world.pairs, scores, strict=True)
            ],
        )
        means = np.zeros(n_images)
        np.add.at(means, world.pairs[:, 1], scores / np.maximum(np.bincount(world.pairs[:, 1], minlength=n_images), 1)[world.pairs[:, 1]])
        for part, rows in (("Train", slice(0, None, 3)), ("Val", slice(1, None, 3)), ("Test", slice(2, None, 3))):
            _write(
                root / "annotation" / f"LAPIS_GIAA_{part}split.csv",
                "image_id,image_filename,mean_response,2_styles,4_styles",
                [[i, names[i], f"{means[i]:.3f}", "representational", styles[i]] for i in range(n_images)[rows]],
            )
        _write(root / "annotation" / "ImgAttributes_LAPIS.csv", "image_filename,contrast", [[name, 0.5] for name in names])
        return root
    _write(
        root / "annotation" / "LAPIS_individualratings_metaANDdemodata.csv",
        "image_filename,image_id,response,participant_id,age,nationality,demo_gender,demo_edu,demo_colorblind,style,genre,"
        + ",".join([f"VAIAK{i}" for i in range(1, 8)] + [f"2VAIAK{i}" for i in range(1, 5)]),
        [
            [f"{styles[image]}/{names[image]}", image, score, ids[rater], *people[rater], styles[image], genres[image], *items[rater]]
            for (rater, image), score in zip(world.pairs, scores, strict=True)
        ],
    )
    _write(root / "annotation" / "QIP_LAPIS.csv", "img_file,aspect_ratio", [[name, 1.333] for name in names])
    for folder, stem, lines in (
        ("imageset", "TrainImageSet", names[0::3]),
        ("imageset", "ValImageSet", names[1::3]),
        ("imageset", "TestImageSet", names[2::3]),
        *(("userset", f"TestUserIDs_Fold{fold}", ids[fold - 1 :: 4]) for fold in range(1, 5)),
        *(("userset", f"TrainUserIDs_Fold{fold}", [rater for i, rater in enumerate(ids) if i % 4 != fold - 1]) for fold in range(1, 5)),
    ):
        path = root / folder / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return root


def make_eva(root: Path, *, n_raters: int = 12, n_images: int = 20, seed: int = 0, per_rater: int | None = None) -> Path:
    """EVA in `root`: data/votes_filtered.csv, votes.csv, users.csv, region_index.csv ("=" between values) and images/EVA_together/<id>.jpg.

    The planted taste hangs on the year of birth (the older half likes warm images).

    Returns:
        `root`.
    """
    world = make_world(n_raters=n_raters, n_images=n_images, per_rater=per_rater, seed=seed)
    pick = world.random.choice
    ids, names = [f"E{136 + 2 * i}" for i in range(n_raters)], [str(71 + 35 * i) for i in range(n_images)]
    for i, name in enumerate(names):
        _photo(root / "images" / "EVA_together" / f"{name}.jpg", world, i)
    _write(
        root / "data" / "users.csv",
        "id=age=region=photographic_level_id=gender_id=eyecheck",
        [
            [
                *(ids[i], f"{2000 - round(40 * world.trait[i])}.0", f"{pick([156, 250, 840, 380])}.0"),
                *(f"{pick([0, 1, 2, 3])}.0", f"{pick([1, 2])}.0", pick(["", "0", "1", "2", "1,2"])),
            ]
            for i in range(n_raters)
        ],
        delimiter="=",
    )
    beside = np.clip(world.level[:, None] + world.random.normal(0, 0.12, (len(world.level), 4)), 0, 1)
    votes = [
        [names[image], ids[rater], round(10 * level), int(pick(4)) + 1, *(1 + round(3 * value) for value in more), f"{pick(9) + 1.5}"]
        for (rater, image), level, more in zip(world.pairs, world.level, beside, strict=True)
    ]
    start = "image_id=user_id=score=difficulty=visual=composition=quality=semantic"
    filtered = [[*vote, *(int(pick(2)) for _ in range(4))] for vote in votes]
    _write(root / "data" / "votes_filtered.csv", f"{start}=vote_time=1=2=3=4", filtered, delimiter="=")
    raw = [[*vote[:8], "1,4", "Mozilla/5.0 (X11; Linux)", vote[8]] for vote in votes]
    _write(root / "data" / "votes.csv", f"{start}=factor=device=vote_time", raw, delimiter="=")
    (root / "data" / "region_index.csv").write_text(
        "840=United States\n156=Mainland China\n250=France\n384=Côte d'Ivoire\n380=Italy", encoding="utf-8"
    )
    _write(root / "data" / "image_content_category.csv", '"image_id","sort"', [[name, 1 + i % 6] for i, name in enumerate(names)])
    return root


def make_flickr_aes(root: Path, *, n_raters: int = 12, n_images: int = 20, seed: int = 0, per_rater: int | None = None) -> Path:
    """FLICKR-AES in `root`: FLICKR-AES_image_labeled_by_each_worker.csv, FLICKR-AES_image_score.txt (leading blanks) and 40K/<name>.jpg.

    Returns:
        `root`.
    """
    world = make_world(n_raters=n_raters, n_images=n_images, per_rater=per_rater, seed=seed)
    ids = [f"A{i:02d}{'QWERTZUIOP'[i % 10]}XK2S" for i in range(n_raters)]
    names = [f"farm1_{255 + i}_19454491073_fdbd{i:06x}_b.jpg" for i in range(n_images)]
    for i, name in enumerate(names):
        _photo(root / "40K" / name, world, i)
    scores = [_five(level) for level in world.level]
    root.mkdir(parents=True, exist_ok=True)
    (root / "FLICKR-AES_image_labeled_by_each_worker.csv").write_text(
        "worker, imagePair, score\n"
        + "".join(f"{ids[rater]}, {names[image]}, {score}\n" for (rater, image), score in zip(world.pairs, scores, strict=True)),
        encoding="utf-8",
    )
    averages = [f" {name} {bright:.6f}\n" for name, bright in zip(names, world.bright, strict=True)]
    (root / "FLICKR-AES_image_score.txt").write_text("".join(averages), encoding="utf-8")
    return root


def _para_giaa(folder: Path, *, names: Sequence[str], sessions: Sequence[str], semantic: Sequence[str], world: World) -> None:
    grades = [f"{1 + step / 2:.1f}" for step in range(9)]
    given: list[list[float]] = [[] for _ in names]
    for (_, image), level in zip(world.pairs, world.level, strict=True):
        given[image].append(_half(level))
    rows = []
    for i, scores in enumerate(given):
        shares = [sum(f"{score:.1f}" == grade for score in scores) for grade in grades]
        rows.append([sessions[i], names[i], semantic[i], *shares, np.mean(scores) if scores else "", np.std(scores) if scores else ""])
    header = ",".join(
        ["sessionId,imageName,semantic", *(f"aestheticScore_{grade}" for grade in grades), "aestheticScore_mean", "aestheticScore_std"]
    )
    _write(folder / "PARA-GiaaTrain.csv", header, [row for i, row in enumerate(rows) if i % 10])
    _write(folder / "PARA-GiaaTest.csv", header, [row for i, row in enumerate(rows) if not i % 10])


def _photo(path: Path, world: World, index: int) -> None:
    """A patch whose brightness and warmth are those of image `index`, with some noise."""
    bright, warm = world.bright[index], world.warm[index]
    colour = (0.15 + 0.7 * bright) * np.array([0.6 + 0.4 * warm, 0.75, 1.0 - 0.4 * warm])
    noise = np.random.default_rng([index, 5]).normal(0, 0.04, (SIZE[1], SIZE[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * np.clip(colour + noise, 0, 1)).astype(np.uint8)).save(path, quality=90)


def _half(level: float) -> float:
    """0..1 -> 1, 1.5, ... 5"""
    return 1 + round(8 * float(level)) / 2


def _five(level: float) -> int:
    """0..1 -> 1, 2, ... 5"""
    return 1 + round(4 * float(level))


def _write(path: Path, header: str, rows: Sequence[Sequence[object]], *, delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(header + "\n")
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
