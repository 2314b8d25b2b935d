"""Asking a model all of AesBench: resumable, the same in any batches; and the files that are sent in."""

import json
import re

import pytest

import aesbench_layout as layout
from beholder.backbones.chat import ChatModel, open_chat_model
from beholder.critique.aesbench.extraction import extract
from beholder.critique.aesbench.prompts import prompt
from beholder.critique.aesbench.reading import read
from beholder.critique.aesbench.runs import answers, answers_folder
from beholder.critique.aesbench.submission import read_submission, write_submission
from beholder.errors import BeholderError
from beholder.located import SkippedInput
from chat_server import serving


def looking(request, number=0):
    """Answers from the pixels: the option that names the colour, or the brightness."""
    colour, brightness = layout.seen(request["image"])
    text = request["text"]
    if "explain the reasons" in text:
        return f"It is {colour} and {brightness}."
    wanted = [colour, {"dark": "gloomy", "middle": "calm", "bright": "cheerful"}[brightness]]
    if "aesthetic quality" in text:
        wanted = [{"dark": "low", "middle": "medium", "bright": "high"}[brightness]]
    if text.startswith("Is "):
        wanted = ["yes" if colour == "red" else "no"]
    options = re.findall(r"^([A-D])\) (.*)$", text, re.MULTILINE)
    letter, option = next((letter, option) for letter, option in options if any(word in option.casefold() for word in wanted))
    return f"{letter}) {option}"


def model(server, **more):
    return open_chat_model(server.name(), keep=False, backoff=0.01, retries=1, **more)


@pytest.fixture
def benchmark(tmp_path):
    return read(layout.write_official(tmp_path / "bench"))


def test_a_model_that_looks_is_right(benchmark, tmp_path):
    seen = []
    with serving(looking) as server:
        found = answers(benchmark, chat=model(server), out=tmp_path / "out", progress=lambda *step: seen.append(step))
    right = layout.right_answers()
    for part in ("AesP", "AesE", "AesA"):
        assert list(found[part]) == [q.image for q in benchmark.of_part(part)]
        for question in benchmark.of_part(part):
            assert extract(found[part][question.image], dict(question.options)).letter == right[part][question.image]
    assert sorted(request["text"] for request in server.requests) == sorted(prompt(q) for q in benchmark.questions)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1] == (48, 48, "AesI")


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_batches_do_not_matter(benchmark, tmp_path, batch):
    with serving(looking) as server:
        whole = answers(benchmark, chat=model(server), out=tmp_path / "whole")
        found = answers(benchmark, chat=model(server), out=tmp_path / "out", batch=batch)
        name = model(server).name
    assert found == whole
    for part in benchmark.parts:
        files = [answers_folder(tmp_path / out, name) / f"{part}.jsonl" for out in ("whole", "out")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_second_run_asks_nothing(benchmark, tmp_path):
    with serving(looking) as server:
        first = answers(benchmark, chat=model(server), out=tmp_path / "out", parts=["AesA"])
        assert len(server.requests) == 12
        assert answers(benchmark, chat=model(server), out=tmp_path / "out", parts=["AesA"]) == first
        assert len(server.requests) == 12
        answers(benchmark, chat=model(server), out=tmp_path / "out", parts=["AesA", "AesE"])
        assert len(server.requests) == 24


def test_an_interrupted_run_goes_on(benchmark, tmp_path, monkeypatch):
    original, calls = ChatModel.ask, []

    def stopping(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    with serving(looking) as server:
        whole = answers(benchmark, chat=model(server), out=tmp_path / "whole", batch=5)
        name = model(server).name
        before = len(server.requests)
        monkeypatch.setattr(ChatModel, "ask", stopping)
        with pytest.raises(KeyboardInterrupt):
            answers(benchmark, chat=model(server), out=tmp_path / "out", batch=5)
        folder = answers_folder(tmp_path / "out", name)
        assert len((folder / "AesP.jsonl").read_text().splitlines()) == 12
        with (folder / "AesP.jsonl").open("r+b") as file:  # and the last line was cut off
            file.truncate((folder / "AesP.jsonl").stat().st_size - 20)
        assert answers(benchmark, chat=model(server), out=tmp_path / "out", batch=5) == whole
        assert len(server.requests) - before == 48 + 1  # one was asked again
    for part in benchmark.parts:
        lines = [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines() if line.endswith("}")]
        assert {line["image"]: line["text"] for line in lines} == whole[part]


def test_a_question_that_fails_is_named_and_asked_again(benchmark, tmp_path):
    broken = benchmark.of_part("AesE")[7]

    def failing(request, number):
        if request["text"] == prompt(broken) and layout.seen(request["image"]) == where:
            return 500, "out of memory"
        return looking(request)

    one = next(one for one in layout.made() if one["image"] == broken.image)
    where = (one["colour"], one["brightness"])
    with serving(failing) as server:
        with pytest.warns(SkippedInput, match=rf"1 of 12 questions were not answered .*{broken.id}.*out of memory"):
            found = answers(benchmark, chat=model(server), out=tmp_path / "out", parts=["AesE"])
        assert set(found["AesE"]) == {q.image for q in benchmark.of_part("AesE")} - {broken.image}
        server.answer = looking
        before = len(server.requests)
        found = answers(benchmark, chat=model(server), out=tmp_path / "out", parts=["AesE"])
        assert list(found["AesE"]) == [q.image for q in benchmark.of_part("AesE")]
        assert len(server.requests) == before + 1


def test_images_that_cannot_be_read_are_named(benchmark, tmp_path):
    benchmark.path("1000.png").write_bytes(b"no image")
    benchmark.path("baid_1001.png").unlink()
    with (
        serving(looking) as server,
        pytest.warns(SkippedInput, match=r"2 of 12 questions .*1000\.png.*baid_1001\.png|2 of 12 questions .*baid_1001"),
    ):
        found = answers(benchmark, chat=model(server), out=tmp_path / "out", parts=["AesP"])
    assert len(found["AesP"]) == 10


def test_other_prompts_models_and_images_do_not_mix(benchmark, tmp_path):
    with serving(looking) as server:
        answers(benchmark, chat=model(server), out=tmp_path, parts=["AesA"])
        for count, more in enumerate(({"style": "vlmevalkit"}, {"max_tokens": 77}), start=2):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(server, "answer", lambda request, number, count=count: f"reply {count}")
                found = answers(benchmark, chat=model(server), out=tmp_path, parts=["AesA"], **more)
            assert len(server.requests) == 12 * count
            assert set(found["AesA"].values()) == {f"reply {count}"}
        answers(benchmark, chat=model(server, image_size=64), out=tmp_path, parts=["AesA"])  # another version of the model
        assert len(server.requests) == 48
        benchmark.path("1000.png").write_bytes(layout.png(layout.made(3)[2]))
        answers(benchmark, chat=model(server), out=tmp_path, parts=["AesA"])
        assert len(server.requests) == 49


def test_nobody_there_ends_the_run(benchmark, tmp_path):
    chat = open_chat_model("http://127.0.0.1:9/v1#tiny", keep=False, retries=0)
    with pytest.raises(BeholderError, match="cannot be reached"):
        answers(benchmark, chat=chat, out=tmp_path, parts=["AesA"])
    with serving(lambda request, number: (500, "broken")) as server:
        with pytest.raises(BeholderError, match=r"answers nothing .*broken"):  # long before all have been tried
            answers(benchmark, chat=model(server, concurrency=1), out=tmp_path, parts=["AesA", "AesE"])
        assert len(server.requests) <= 20
        with pytest.raises(BeholderError, match="answered none of 3 questions"):
            answers(benchmark.narrowed(limit=3), chat=model(server), out=tmp_path, parts=["AesA"])


def test_questions_that_keep_failing_do_not_stop_a_run_that_has_answers(benchmark, tmp_path):
    """Asked again they come first, one behind the other: that is no reason to take the server for broken."""
    with serving(lambda request, number: "B" if request["text"].endswith("explanation.") else (500, "broken")) as server:
        for _ in range(2):
            with pytest.warns(SkippedInput, match="12 of 24 questions were not answered"):
                found = answers(benchmark, chat=model(server), out=tmp_path, parts=["AesP", "AesA"])
            assert len(found["AesP"]) == 12 and found["AesA"] == {}


def test_half_an_emoji_is_no_reason_to_stop(benchmark, tmp_path):
    with serving(lambda request, number: "B \ud83d") as server:
        found = answers(benchmark, chat=open_chat_model(server.name(), retries=0), out=tmp_path, parts=["AesA"])
    assert set(found["AesA"].values()) == {"B ?"}


def test_a_batch_of_nothing_is_refused(benchmark, tmp_path):
    chat = open_chat_model("http://127.0.0.1:9/v1#tiny", keep=False, retries=0)
    with pytest.raises(BeholderError, match="batch = 0"):
        answers(benchmark, chat=chat, out=tmp_path, batch=0)


def test_folders_of_models_differ():
    names = ["http://h/v1#m", "http://g/v1#m", "/a/b/model/", "model", "#", "мой"]
    assert len({answers_folder("out", name) for name in names}) == len(names)
    assert all(answers_folder("out", name).parent.name == "answers" for name in names)


def test_a_submission_is_read_back(benchmark, tmp_path):
    given = {
        part: {image: f"{text}: café\n“quoted” 是" for image, text in images.items()} for part, images in layout.right_answers().items()
    }
    files = write_submission(given, tmp_path, benchmark=benchmark)
    assert [file.name for file in files] == ["test_AesP.json", "test_AesE.json", "test_AesA1.json", "test_AesI.json"]
    content = json.loads(files[2].read_bytes().decode("utf-8"))
    assert list(content) == [q.image for q in benchmark.of_part("AesA")]
    assert content["1000.png"] == {"AesA1_response": given["AesA"]["1000.png"]}
    assert "café" in files[0].read_text(encoding="utf-8")
    assert read_submission(tmp_path, benchmark=benchmark) == given
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_missing_and_extra_images_of_a_submission_are_named(benchmark, tmp_path):
    given = {"AesE": dict(list(layout.right_answers()["AesE"].items())[1:]) | {"strange.png": "A"}}
    with pytest.warns(SkippedInput) as caught:
        write_submission(given, tmp_path, benchmark=benchmark)
    said = [str(one.message) for one in caught]
    assert "1 of 12 images have no answer of AesE (1000.png)" in said[0]
    assert "strange.png" in said[1]
    file = tmp_path / "test_AesE.json"
    content = json.loads(file.read_text())
    assert "strange.png" not in content
    content["BAID_1001.PNG"] = content.pop("baid_1001.png")  # another spelling
    content["other.png"] = "B"
    file.write_text(json.dumps(content))
    with pytest.warns(SkippedInput) as caught:
        found = read_submission(tmp_path, benchmark=benchmark)
    assert ["1000.png" in str(caught[0].message), "other.png" in str(caught[1].message)] == [True, True]
    assert found == {"AesE": {image: text for image, text in layout.right_answers()["AesE"].items() if image != "1000.png"}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "no object of images"),
        ('{"1000.png": {"AesX": "B"}}', "1000.png has no text under AesP_response"),
        ('{"1000.png": {"AesP_response": 3}}', "has no text under AesP_response"),
        ('{"z.png": {"AesP_response": "B"}}', "holds no image of AesBench_evaluation"),
    ],
)
@pytest.mark.filterwarnings("ignore::beholder.located.SkippedInput")
def test_broken_submissions_are_refused(benchmark, tmp_path, content, said):
    (tmp_path / "test_AesP.json").write_text(content)
    with pytest.raises(BeholderError, match=said):
        read_submission(tmp_path, benchmark=benchmark)


def test_null_is_no_answer_and_an_image_that_stands_there_twice_is_named(benchmark, tmp_path):
    first, second, *others = (question.image for question in benchmark.of_part("AesP"))
    rest = ", ".join(f'"{image}": {{"AesP_response": "C"}}' for image in others)
    one = '"{}": {{"AesP_response": {}}}'
    text = f"{{{one.format(first, 'null')}, {one.format(second, json.dumps('A'))}, {one.format(second, json.dumps('B'))}, {rest}}}"
    (tmp_path / "test_AesP.json").write_text(text)
    with pytest.warns(SkippedInput, match=rf"1 images stand there more than once \({second}\): the last answer counts"):
        found = read_submission(tmp_path, benchmark=benchmark)["AesP"]
    assert (found[first], found[second], found[others[0]]) == ("", "B", "C")
    (tmp_path / "test_AesP.json").write_text(text.replace('"B"', '"B \\ud83d"'))  # half of an emoji
    with pytest.warns(SkippedInput):
        assert read_submission(tmp_path, benchmark=benchmark)["AesP"][second] == "B ?"


def test_nothing_to_send_or_read(benchmark, tmp_path):
    with pytest.raises(BeholderError, match=r"looked for test_AesP\.json, test_AesE\.json, test_AesA1\.json, test_AesI\.json"):
        read_submission(tmp_path, benchmark=benchmark)
    with pytest.raises(BeholderError, match="no answers to write"):
        write_submission({"AesP": {}}, tmp_path, benchmark=benchmark)
