"""Generators: a server's images endpoint, a command, names. (Diffusers: test_generators_diffusers.)"""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from beholder.errors import BeholderError
from beholder.steering.base import CallFailed, Generator
from beholder.steering.generators import open_generator, parse_size
from beholder.steering.generators.command import CommandGenerator
from beholder.steering.generators.endpoint import ImagesEndpoint
from image_files import encoded, picture
from image_server import base64_of, draws, image_of, serving


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def endpoint(server, **options):
    return ImagesEndpoint(f"{server.url}#tiny", **({"backoff": 0.01} | options))


def failure(generator, prompt="a boat", seed=1, kind="failed"):
    """The sentence of a failed call of this kind."""
    with pytest.raises(CallFailed) as caught:
        generator.generate(prompt, seed=seed)
    assert caught.value.kind == kind and "\n" not in caught.value.reason
    return caught.value.reason


def problem(generator, prompt="a boat"):
    """The sentence of an error that ends the run."""
    with pytest.raises(BeholderError) as caught:
        generator.generate(prompt, seed=1)
    assert not isinstance(caught.value, CallFailed)
    return str(caught.value)


def same(one, other):
    return one.mode == other.mode == "RGB" and np.array_equal(np.asarray(one), np.asarray(other))


# names


class Own(Generator):
    name = "own"

    def generate(self, prompt, *, seed):
        return picture(seed=seed)


def test_generators_by_name(tmp_path):
    assert isinstance(open_generator("https://example.org/v1#m"), ImagesEndpoint)
    assert isinstance(open_generator(f"command:{sys.executable} {{prompt}} {{out}}"), CommandGenerator)
    assert type(open_generator("test_generators:Own")).__name__ == "Own"
    scenes = open_generator("scenes", size="96x64")
    assert scenes.generate("a boat", seed=1).size == (96, 64)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "there is no generator ''"),
        ("senes", "there is no generator 'senes'"),
        ("no.such.module:Class", "is no generator"),
        ("test_generators:endpoint", "is no generator"),
        ("http://host/v1", "names no model"),
        ("http://u:secret@host/v1#m", "holds a name or password"),
        ("command:", "has no {prompt} and no {out}"),
        ("command:render {prompt}", "has no {out}"),
        ("command:no-such-program-here {prompt} {out}", "was not found"),
        ("command:render 'unclosed {prompt} {out}", "cannot be understood"),
    ],
)
def test_what_no_generator_is(uri, words):
    with pytest.raises(BeholderError) as caught:
        open_generator(uri)
    assert words in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "pixels"), [(None, None), ("640x480", (640, 480)), (" 8 × 9 ", (8, 9)), ([5, 6], (5, 6)), ((7, 8), (7, 8))]
)
def test_sizes(size, pixels):
    assert parse_size(size) == pixels


@pytest.mark.parametrize("size", ["", "640", "axb", "0x5", (1, 2, 3), (4,), 5, "3x4x5", (-1, 3)])
def test_what_no_size_is(size):
    with pytest.raises(BeholderError, match="WIDTHxHEIGHT"):
        parse_size(size)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"retries": -1}, {"concurrency": 0}])
def test_numbers_that_cannot_be(wrong):
    with pytest.raises(BeholderError, match="more"):
        open_generator("https://example.org/v1#m", **wrong)


def test_importing_generators_imports_neither_torch_nor_diffusers():
    code = (
        "import sys, beholder.steering.generators as g, beholder.steering.faithfulness, beholder.steering.diffusers_callback\n"
        "g.open_generator('https://example.org/v1#m')\n"
        "sys.exit(', '.join(m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


# a server: what is sent and read


def test_the_request_is_that_of_the_openai_interface():
    with serving(draws) as server:
        image = endpoint(server, size=(40, 30)).generate("a boat, at night", seed=7)
    assert server.bodies == [
        {"model": "tiny", "prompt": "a boat, at night", "n": 1, "response_format": "b64_json", "size": "40x30", "seed": 7}
    ]
    assert server.paths == ["/v1/images/generations"] and "Authorization" not in server.headers[0]
    assert same(image, image_of(server.bodies[0])) and image.size == (40, 30)


def test_the_copied_address_works_and_no_size_is_sent_unasked():
    with serving(draws) as server:
        generator = ImagesEndpoint(f"{server.url}/images/generations#tiny")
        generator.generate("x", seed=0)
    assert generator.name == f"{server.url}#tiny" and "size" not in server.bodies[0]


def test_many_images_are_asked_for_at_once_and_come_with_their_places():
    def slowly(body, number):
        time.sleep(0.1)
        return draws(body, number)

    requests = [(f"prompt {i // 2}", i % 2) for i in range(8)]
    with serving(slowly) as server:
        found = dict(endpoint(server, concurrency=4).generate_many(requests))
    assert 2 <= server.most <= 4 and sorted(found) == list(range(8))
    assert all(same(found[i], image_of({"prompt": p, "seed": s})) for i, (p, s) in enumerate(requests))


def test_one_failure_of_many_leaves_the_others():
    def some(body, number):
        return (400, "Your request was rejected by our safety system") if "bad" in body["prompt"] else draws(body, number)

    with serving(some) as server:
        found = dict(endpoint(server).generate_many([("good", 1), ("bad", 1), ("fine", 1)]))
    assert [isinstance(found[i], CallFailed) for i in range(3)] == [False, True, False] and found[1].kind == "refused"


def test_transparency_becomes_white():
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    with serving(lambda body, number: {"data": [{"b64_json": base64_of(clear)}]}) as server:
        assert endpoint(server).generate("x", seed=1).getpixel((0, 0)) == (255, 255, 255)


def test_the_key_is_sent_and_a_wrong_one_explained(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-1")
    with serving(lambda body, number: (401, "bad key")) as server:
        said = problem(endpoint(server, api_key_env="MY_KEY"))
    assert server.headers[0]["Authorization"] == "Bearer secret-1" and "MY_KEY is set, but not accepted" in said and "secret-1" not in said


# a server: fields it does not know


@pytest.mark.parametrize(
    ("field", "status", "payload"),
    [
        ("response_format", 400, {"error": {"message": "Unknown parameter: 'response_format'.", "param": "response_format"}}),
        ("seed", 400, {"error": {"message": "Unrecognized request argument supplied: seed"}}),
        ("seed", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
        ("size", 400, {"error": {"message": "this model does not support size"}}),
    ],
)
def test_a_field_that_the_server_does_not_know_is_left_out_from_then_on(field, status, payload):
    def picky(body, number):
        return (status, payload) if field in body else draws(body, number)

    with serving(picky) as server:
        generator = endpoint(server, size=(24, 16), retries=0)
        for _ in range(2):
            generator.generate("a seed of unknown size and response_format", seed=3)
    assert [field in body for body in server.bodies] == [True, False, False]
    kept = {"response_format", "seed", "size"} - {field}
    assert all(kept <= set(body) for body in server.bodies)
    assert bool(generator.notes()) == (field != "response_format") and all(field in note for note in generator.notes())


def test_all_fields_may_be_unknown():
    def picky(body, number):
        extra = next((field for field in ("seed", "size", "response_format") if field in body), None)
        return (400, f"unknown field {extra}") if extra else draws(body, number)

    with serving(picky) as server:
        endpoint(server, size=(24, 16), retries=0).generate("x", seed=1)
    assert set(server.bodies[-1]) == {"model", "prompt", "n"}


def test_a_size_that_is_not_supported_is_an_error_and_not_another_size():
    with serving(lambda body, number: (400, "Invalid value: '24x16'. Supported values are: '1024x1024'.")) as server:
        said = problem(endpoint(server, size=(24, 16)))
    assert len(server.bodies) == 1 and "1024x1024" in said and "mend" in said


def test_a_prompt_that_is_quoted_back_is_not_taken_for_a_complaint_about_a_field():
    def rejects(body, number):
        return 400, f"unknown error for {body['prompt']}"

    with serving(rejects) as server:
        problem(endpoint(server), prompt="the seed of a tree")
    assert len(server.bodies) == 1


# a server: addresses


def test_an_address_on_the_same_host_is_fetched():
    with serving(lambda body, number: {"data": [{"url": f"{server.root}/files/1.png"}]}) as server:
        server.files["/files/1.png"] = encoded(picture(), "PNG")
        assert same(endpoint(server).generate("x", seed=1), picture())
    assert server.paths == ["/v1/images/generations", "/files/1.png"]


def test_a_data_address_is_read():
    with serving(lambda body, number: {"data": [{"url": f"data:image/png;base64,{base64_of(picture())}"}]}) as server:
        assert same(endpoint(server).generate("x", seed=1), picture())


@pytest.mark.parametrize("address", ["http://elsewhere.invalid/a.png", "file:///etc/hostname", "ftp://127.0.0.1/a", "/relative.png"])
def test_no_other_address_is_fetched(address):
    with serving(lambda body, number: {"data": [{"url": address}]}) as server:
        assert "neither on its own host nor https" in failure(endpoint(server), kind="broken")


def test_the_key_does_not_go_to_another_port_and_no_redirection_is_followed(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with serving(draws) as other, serving(lambda body, number: {"data": [{"url": f"{other.root}/a.png"}]}) as server:
        other.files |= {"/a.png": (302, {"Location": f"{other.root}/b.png"}), "/b.png": encoded(picture(), "PNG")}
        assert "answered 302" in failure(endpoint(server), kind="broken")
    assert other.paths == ["/a.png"] and "Authorization" in server.headers[0] and "Authorization" not in other.headers[0]


def test_an_address_without_an_image_is_broken():
    with serving(lambda body, number: {"data": [{"url": f"{server.root}/none.png"}]}) as server:
        assert "404" in failure(endpoint(server), kind="broken")


# a server: failures


@pytest.mark.parametrize(("status", "kind", "times"), [(500, "failed", 2), (504, "failed", 2), (429, "unreachable", 7), (502, "unreachable", 7), (503, "unreachable", 7)])
def test_what_may_be_right_the_next_time_is_tried_again(status, kind, times):
    with serving(lambda body, number: draws(body, number) if number == 3 else (status, "busy")) as server:
        assert endpoint(server).generate("x", seed=1)
    assert len(server.bodies) == 3
    with serving(lambda body, number: (status, "busy")) as server:
        assert "busy" in failure(endpoint(server, retries=1, backoff=0.001), kind=kind) and len(server.bodies) == times


def test_the_time_the_server_asks_for_is_waited(monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: waits.append(timeout) or False)
    with serving(lambda body, number: draws(body, number) if number == 2 else (429, "busy", {"Retry-After": "7"})) as server:
        generator = endpoint(server)
        client = httpx.Client(trust_env=False)
        generator._ask(client, "x", seed=1, stopped=threading.Event())
    assert any(wait is not None and wait >= 6.5 for wait in waits)
    with serving(lambda body, number: (429, "busy", {"Retry-After": "4000"})) as server:
        assert "4000 s" in failure(endpoint(server), kind="unreachable") and len(server.bodies) == 1


def test_a_late_answer():
    def late(body, number):
        time.sleep(0.4)
        return draws(body, number)

    with serving(late) as server:
        assert "no image within 0.1 s, 2 times" in failure(endpoint(server, timeout=0.1, retries=1))


def test_a_connection_that_is_lost_each_time_is_an_outage_and_no_fault_of_the_prompt():
    """What tunnels and containers do whose server is down: they take the connection and close it."""
    with serving(draws) as server:
        generator = endpoint(server, retries=1, backoff=0.001)
        generator.generate("x", seed=1)
        server.answer = lambda body, number: 1 / 0  # the handler dies without an answer
        assert "broke the connection" in failure(generator, kind="unreachable")


def test_garbage_is_broken_where_images_came_before():
    with serving(draws) as server:
        generator = endpoint(server)
        generator.generate("x", seed=1)
        server.answer = lambda body, number: {"error": "out of memory"}
        assert "out of memory" in failure(generator, kind="broken")


def test_nobody_there():
    with serving(draws) as server:
        pass
    assert "cannot be reached" in failure(endpoint(server), kind="unreachable")


def test_a_server_that_went_away_is_unreachable_after_a_few_tries():
    with serving(draws) as server:
        generator = endpoint(server, retries=1)
        generator.generate("x", seed=1)
    assert "2 times" in failure(generator, kind="unreachable")


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (400, {"error": {"message": "rejected", "code": "content_policy_violation"}}),
        (400, {"error": {"message": "Your request was rejected as a result of our safety system.", "code": "moderation_blocked"}}),
        (403, {"errors": ["x"], "name": "content_moderation"}),
        (200, {"data": [{"b64_json": None, "finish_reason": "CONTENT_FILTERED"}]}),
        (400, {"error": {"message": "prompt is too long: 1200 characters"}}),
    ],
)
def test_refusals_are_not_tried_again(status, payload):
    with serving(lambda body, number: (status, payload)) as server:
        failure(endpoint(server), kind="refused")
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "item", [{"b64_json": "bm8gaW1hZ2U="}, {"b64_json": "!"}, {}, {"b64_json": ""}, {"url": "data:image/png;base64,AAAA"}]
)
def test_what_no_image_is(item):
    with serving(lambda body, number: {"data": [item]}) as server:
        assert "image" in failure(endpoint(server), kind="broken")


@pytest.mark.parametrize(
    ("status", "payload", "words"),
    [
        (401, "no key", "is not set"),
        (404, "no model", "no model 'tiny'"),
        (429, "You exceeded your current quota", "nothing left to spend"),
        (302, "", "points elsewhere"),
        (400, "n must be 1", "mend what it complains of"),
        (200, {"choices": []}, "holds no images"),
        (200, ["a"], "holds no images"),
        (200, {"data": [{"b64_json": 5}]}, "holds no images"),
    ],
)
def test_what_ends_the_run(status, payload, words):
    with serving(lambda body, number: (status, payload)) as server:
        assert words in problem(endpoint(server))
    assert len(server.bodies) == 1


# a command

SCRIPT = """
import sys, json
from PIL import Image
prompt, seed, out, *size = sys.argv[1:]
mode = prompt.split()[0]
if mode == "fail": print("first line", file=sys.stderr); sys.exit("the model is not there.")
if mode == "silent": sys.exit(3)
if mode == "nothing": sys.exit(0)
if mode == "broken": open(out, "w").write("no image"); sys.exit(0)
if mode == "sleep":
    import subprocess, time
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(2); open({(prompt.split()[1])!r}, 'w')"])
    time.sleep(30)
print("x" * 200000)
print("y" * 200000, file=sys.stderr)
open(out + ".json", "w").write(json.dumps(sys.argv[1:]))
Image.new("RGB", tuple(map(int, size)) or (8, 8), (int(seed) % 256, len(prompt) % 256, 0)).save(out)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "render it.py"  # with a blank
    path.write_text(SCRIPT)
    return path


def command(script, words="{prompt} {seed} {out}", **options):
    return open_generator(f"command:{sys.executable} '{script}' {words}", **options)


def test_a_command_makes_images(script):
    generator = command(script)
    image = generator.generate("plain red", seed=77)
    assert image.mode == "RGB" and image.getpixel((0, 0)) == (77, 9, 0)
    assert [image.getpixel((0, 0))[0] for _, image in generator.generate_many([("a", 1), ("a", 2)])] == [1, 2]
    assert command(script, "{prompt} {seed} {out} {width} {height}", size="20x10").generate("a", seed=1).size == (20, 10)
    assert command(script, "{prompt} {seed} {out} {width} {height}").generate("a", seed=1).size == (512, 512)


@pytest.mark.parametrize(
    "prompt",
    [
        "a; touch INJECTED",
        "$(touch INJECTED)",
        "`touch INJECTED`",
        "' && touch INJECTED '",
        '" | touch INJECTED',
        "{seed} {out} {width}",
        "a\nb",
        "a\0b",
        "--help",
        "☃",
    ],
)
def test_a_prompt_stays_one_word_whatever_it_holds(script, tmp_path, monkeypatch, prompt):
    monkeypatch.chdir(tmp_path)
    image = command(script).generate(prompt, seed=5)
    expected = prompt if not prompt.startswith("-") else f" {prompt}"
    assert image.getpixel((0, 0)) == (5, len(expected), 0) and not (tmp_path / "INJECTED").exists()


def test_the_places_may_be_parts_of_words(tmp_path):
    path = tmp_path / "r.py"
    path.write_text(
        "import argparse\nfrom PIL import Image\np = argparse.ArgumentParser()\n[p.add_argument(f'--{n}') for n in ('prompt', 'out')]\n"
        "a = p.parse_args()\nImage.new('RGB', (len(a.prompt), 3)).save(a.out)"
    )
    assert command(path, "--prompt={prompt} --out={out}").generate("-a b-", seed=1).size == (5, 3)


@pytest.mark.parametrize(
    ("prompt", "kind", "words"),
    [
        ("fail", "failed", "exit code 1: the model is not there"),
        ("silent", "failed", "exit code 3 and said nothing"),
        ("nothing", "broken", "wrote no file"),
        ("broken", "broken", "no image that can be read"),
    ],
)
def test_what_a_command_can_do_wrong(script, prompt, kind, words):
    assert words in failure(command(script), prompt=prompt, kind=kind)


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(script, tmp_path):
    late = tmp_path / "late.txt"
    assert "within 1 s" in failure(command(script, timeout=1.0), prompt=f"sleep {late}")
    time.sleep(2.2)
    assert not late.exists()


def test_the_version_of_a_command_is_that_of_what_it_runs(script):
    before = command(script)
    assert command(script).version == before.version
    assert command(script, "{prompt} {seed} {out} {width}", size="8x8").version != before.version
    script.write_text(SCRIPT + "\n# changed\n")
    assert command(script).version != before.version


def test_a_command_without_a_seed_says_so_and_one_without_a_size_takes_none(script):
    assert not command(script).notes() and "{seed}" in command(script, "{prompt} 1 {out}").notes()[0]
    with pytest.raises(BeholderError, match="neither"):
        command(script, size="8x8")
