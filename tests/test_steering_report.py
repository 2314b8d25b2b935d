"""The page of a run: everything that was tried is on it, whatever was written is escaped, and a judge that is being gamed is named."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

import image_files
from beholder.steering.page import line_chart
from beholder.steering.report import reward_hacking, write_report
from beholder.steering.run_folder import RunFolder
from command_line import refused

NASTY = '<script>alert("x")</script> & "quotes" \'too\' </title><img src=http://evil/>'
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects what a browser would load, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.said = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "xlink:href")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, text):
        self.said.append(text)

    @property
    def text(self):
        return " ".join("".join(self.said).split())


def settings(**more):
    return {"goal": f"a cat {NASTY}", "seed": 7, "raters": ["anna"], "judge": "taste for anna", "hold_out": "pamela for anna", "writer": "w", "generator": "g"} | more


def candidate(prompt, iteration, reward, hold_out, file):
    return {"prompt": prompt, "iteration": iteration, "reward": reward, "hold_out": hold_out, "images": [file] if file else [], "seeds": [7]}


def recorded(folder, *, done=True, hold_outs=(0.5, 0.55, 0.6), rewards=(0.4, 0.5, 0.7)):
    """A run of two iterations: in each a prompt with an image, one that was refused, one that the judge skipped, one not tried."""
    run = RunFolder(folder, settings=settings())
    goal = run.settings["goal"]
    all_tried = []
    for number, (reward, hold_out) in enumerate(zip(rewards, hold_outs, strict=True)):
        prompts = [goal] if number == 0 else [f"better {number} {NASTY}", f"refused {number}", f"skipped {number}"]
        tried = []
        for place, prompt in enumerate(prompts):
            key = f"k{number}-{place}"
            run.put("candidate", f"c{key}", prompt=prompt, iteration=number, accepted=True, why="", dropped="refused" if place == 1 else "")
            failed = place == 1
            if not failed:
                run.add_image(key, image_files.picture(seed=number), prompt=prompt, seed=7)
            known = {"prompt": prompt, "seed": 7, "iteration": number, "file": "" if failed else f"images/{key}.png"}
            run.put("image", key, **known, error=f"the filter <b>said</b> no {number}" if failed else "", kind_of_failure="refused" if failed else "")
            if not failed:
                said = {"image": key, "prompt": prompt, "iteration": number, "parts": {"rater anna": reward, "drift": -0.012}}
                run.put("judged", f"r{key}", **said, role="reward", reward=None if place == 2 else reward, skipped=f"too dark {number}" if place == 2 else "")
                run.put("judged", f"h{key}", **said, role="hold_out", reward=hold_out, skipped="")
            if place == 0:
                tried.append(candidate(prompt, number, reward, hold_out, f"images/{key}.png"))
        all_tried += tried
        best = max(all_tried, key=lambda one: one["reward"])
        run.put(
            "iteration", str(number), number=number, best_prompt=best["prompt"], best_reward=best["reward"], best_hold_out=best["hold_out"],
            reward_mean=reward - 0.1, hold_out_mean=hold_out, images_made=1 + 3 * number, counts={"images": 1 + 3 * number, "refused": number}, candidates=tried,
        )  # fmt: skip
    run.put("candidate", "same", prompt=f"again {NASTY}", iteration=1, accepted=False, why="near duplicate", dropped="")
    run.put("proposal", "1.1", iteration=1, call=1, attempt=1, error="the model was <busy>", kind_of_failure="failed")
    if done:
        run.put("done", "done", what="steer", complete=True, best=best, start=all_tried[0], counts={"images": 7, "writer_calls": 2}, notes=[f"note {NASTY}"])
    return run


def page_of(run):
    path = write_report(run)
    assert path == run.folder / "report.html"
    text = path.read_text()
    return text, Page(text)


def test_everything_is_on_the_page(tmp_path):
    with recorded(tmp_path / "run") as run:
        text, page = page_of(run)
    for word in ("0.400 at the start, 0.700 at the end (+0.300)", "0.500 at the start, 0.600 at the end", "anna", "taste for anna", "pamela for anna", "seed 7"):
        assert word in page.text
    for word in ("Iteration 1", "Iteration 2", "refused: the filter <b>said</b> no 2", "not judged: too dark 1", "rater anna 0.700", "drift -0.012"):
        assert word in page.text
    assert "near duplicate" in page.text and "the model was <busy>" in page.text and "writer calls" in page.text
    assert "not finished" not in page.text and "Warning" not in page.text
    images = [source for source in page.sources if source]
    assert set(images) == {"images/k0-0.png", "images/k1-0.png", "images/k1-2.png", "images/k2-0.png", "images/k2-2.png"}
    assert all((tmp_path / "run" / source).is_file() for source in images)
    assert text.count('loading="lazy"') == len(images) and text.count('class="card best"') == 1


def test_the_page_needs_nothing_and_runs_nothing(tmp_path):
    with recorded(tmp_path / "run") as run:
        text, page = page_of(run)
    assert not {"script", "link", "iframe", "object", "b"} & set(page.tags)
    assert not any("//" in source for source in page.sources) and "url(" not in text and "@import" not in text
    assert NASTY in "".join(page.said)  # as text, not as tags
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text


def test_the_curves_show_the_recorded_numbers(tmp_path):
    with recorded(tmp_path / "run") as run:
        text, page = page_of(run)
    assert page.tags.count("svg") == 2 and page.tags.count("polyline") == 4
    titles = re.findall(r"<title>(\d+: [\d.]+)</title>", text)
    assert titles[:3] == ["0: 0.400", "1: 0.500", "2: 0.700"] and titles[6:9] == ["0: 0.500", "1: 0.550", "2: 0.600"]


def test_the_best_come_first_and_failures_last(tmp_path):
    with recorded(tmp_path / "run") as run:
        text, _ = page_of(run)
    second = text[text.index("Iteration 2") :]
    assert second.index("k2-0.png") < second.index("refused: the filter") and second.index("k2-0.png") < second.index("k2-2.png")


def test_a_run_that_stopped_says_how_to_go_on(tmp_path):
    folder = tmp_path / "my run"
    run = recorded(folder, done=False)
    run.add_image("k3-0", image_files.picture(seed=9))
    run.put("candidate", "new", prompt="newest", iteration=3, accepted=True, why="", dropped="")
    run.put("image", "k3-0", prompt="newest", seed=7, iteration=3, file="images/k3-0.png", error="", kind_of_failure="")
    run.put("candidate", "waiting", prompt="waiting", iteration=3, accepted=True, why="", dropped="")
    run.close()
    _, page = page_of(RunFolder.open(folder))  # reading is enough
    assert "not finished" in page.text and f"--out '{folder}'" in page.text
    assert "images/k3-0.png" in page.sources and "not judged: not yet" in page.text and "no image yet" in page.text
    assert "0.700 at the end" in page.text


def test_a_run_that_has_hardly_begun_has_a_page(tmp_path):
    with RunFolder(tmp_path / "run", settings={"goal": "a cat"}) as run:
        _, page = page_of(run)
    assert "not finished" in page.text and "Nothing was counted yet" in page.text and "svg" not in page.tags


@pytest.mark.parametrize(
    ("rewards", "hold_outs", "warned"),
    [
        ((0.4, 0.5, 0.7), (0.5, 0.55, 0.6), False),
        ((0.4, 0.5, 0.7), (0.6, 0.55, 0.5), True),
        ((0.4, 0.5, 0.7), (0.5, 0.6, 0.4), True),
        ((0.4, 0.5, 0.5), (0.5, 0.6, 0.4), False),  # the reward stood still
        ((0.4, 0.5, 0.7), (0.6, 0.6, 0.59), False),  # noise
        ((0.4, 0.5, 0.7), (None, None, None), False),
    ],
)
def test_a_judge_that_is_being_gamed_is_named(rewards, hold_outs, warned):
    events = [{"number": n, "best_prompt": f"prompt {n}", "best_reward": r, "best_hold_out": h} for n, (r, h) in enumerate(zip(rewards, hold_outs, strict=True))]
    text = reward_hacking(events)
    assert bool(text) == warned
    if warned:
        peak = max(range(3), key=lambda n: hold_outs[n])
        assert f"since iteration {peak}" in text and f"prompt {peak}" in text and f"{rewards[2] - rewards[peak]:.3f}" in text


def test_the_warning_is_on_the_page(tmp_path):
    with recorded(tmp_path / "run", hold_outs=(0.6, 0.5, 0.4)) as run:
        _, page = page_of(run)
    assert "Warning: since iteration 0 the reward of the best prompt rose by 0.300" in page.text and "went down by 0.200" in page.text


def test_best_of_n_shows_what_was_kept(tmp_path):
    with RunFolder(tmp_path / "run", settings={"goal": "a cat", "pick": [2, 4], "raters": ["anna"]}) as run:
        run.put("candidate", "c", prompt="a cat", iteration=0, accepted=True, why="", dropped="")
        made = []
        for seed in range(4):
            run.add_image(f"k{seed}", image_files.picture(seed=seed))
            run.put("image", f"k{seed}", prompt="a cat", seed=seed, iteration=0, file=f"images/k{seed}.png", error="", kind_of_failure="")
            run.put("judged", f"j{seed}", image=f"k{seed}", role="reward", reward=seed / 10, parts={}, skipped="")
            made.append(candidate("a cat", 0, seed / 10, None, f"images/k{seed}.png"))
        run.put("done", "done", what="pick", complete=True, best=made[3], start=made[0], kept=[made[3], made[2]], counts={"images": 4}, notes=[])
        text, page = page_of(run)
    assert "2 kept of 4 images" in page.text and "0.000 at the start, 0.300 at the end" in page.text
    marked = re.findall(r'class="card best">\s*<img loading="lazy" src="([^"]+)"', text)
    assert marked == ["images/k3.png", "images/k2.png"]
    assert page.sources[:2] == ["images/k0.png", "images/k3.png"]  # side by side


def test_a_page_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    with RunFolder(tmp_path / "run", settings={"goal": "a cat"}) as run:
        (tmp_path / "run" / "report.html").mkdir()
        refused(lambda: write_report(run), "report.html", "cannot be written")
    assert not list((tmp_path / "run").glob(".report*"))


def test_gaps_break_a_line():
    chart = line_chart([0, 1, 2, 3, 4], {"a": [0.1, 0.2, None, 0.3, float("nan")]}, caption="c", spoken="s")
    assert chart.count("<polyline") == 2 and chart.count("<circle") == 3
    assert line_chart([0, 1], {"a": [None, None]}, caption="c", spoken="s") == ""
