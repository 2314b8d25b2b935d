"""The local form: a real server, asked as a browser asks it, and as somebody who should not be there does."""

from __future__ import annotations

import http.client
import io
import json
import os
import queue
import shutil
import threading
import warnings
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from PIL import Image

from beholder.critique.aesmmit.feedback import QUESTIONS, read_feedback
from beholder.critique.aesmmit.form import serve_form
from beholder.located import SkippedInput
from command_line import make_photos, refused
from image_files import bad_files, difference, picture, turned

SAID = {"grade": 4, "evaluation": "Good-looking.", "reasons": "Warm light.", "feeling": "Calm.", "suggestion": ""}


class _Connection(http.client.HTTPConnection):
    def _encode_request(self, request):
        return request.encode("latin-1")  # the class of the library refuses what others send


class Page:
    """What the page does, by requests."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.port, self.path, self.url = parts.port, parts.path, url

    def raw(self, method, path, body=None, **headers):
        """(status, headers, bytes); path as it is sent."""
        connection = _Connection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, what):
        status, _, data = self.raw("GET", self.path + what)
        return status, json.loads(data)

    def post(self, what, value):
        status, _, data = self.raw("POST", self.path + what, json.dumps(value), **{"Content-Type": "application/json"})
        return status, json.loads(data)


@contextmanager
def form(images, out, **options):
    """The page of a running form; `page.collected` has what `serve_form` returned once it is stopped."""
    urls, results = queue.Queue(), queue.Queue()

    def run():
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                collected = serve_form(images, out, ready=urls.put, **{"subject": "anna"} | options)
            results.put((collected, [one for one in said if issubclass(one.category, SkippedInput)]))
        except BaseException as error:
            urls.put(error)
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    url = urls.get(timeout=20)
    assert isinstance(url, str), url
    page = Page(url)
    try:
        yield page
    finally:
        if results.empty():
            page.post("stop", {})
        page.collected, page.said = results.get(timeout=20)
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    make_photos(folder, "a.png", "sub/b.png")
    return folder


def test_a_session_over_two_images(images, tmp_path):
    out = tmp_path / "new" / "feedback.jsonl"
    with form(images, out, source="natural", dataset="PARA") as page:
        status, state = page.get("next")
        assert status == 200 and state["name"] == "a.png" and (state["done"], state["total"]) == (0, 2)
        assert state["answer"] is None and state["previous"] is None and state["following"] == 1
        status, state = page.post("answer/0", SAID)
        assert status == 200 and state["name"] == "sub/b.png" and state["done"] == 1 and state["previous"] == 0
        [stored] = read_feedback(out)  # at once, while the form is still open
        assert (stored.image, stored.subject, stored.grade, stored.reasons) == ("a.png", "anna", 4, "Warm light.")
        assert (stored.source, stored.dataset) == ("natural", "PARA") and stored.time.endswith("+00:00")
        status, state = page.post("answer/1", SAID | {"grade": 1, "suggestion": "Closer."})
        assert status == 200 and state["number"] is None and state["done"] == 2 and state["previous"] == 1
    assert (page.collected.given, page.collected.done, page.collected.total) == (2, 2, 2) and page.said == []
    assert [one.suggestion for one in read_feedback(out)] == ["", "Closer."]


def test_the_same_command_goes_on_where_it_stopped_for_each_subject_apart(images, tmp_path):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        page.post("answer/0", SAID)
    with form(images, out) as page:
        _, state = page.get("next")
        assert state["name"] == "sub/b.png" and (state["done"], state["previous"]) == (1, 0)
        status, state = page.get("at/0")
        assert status == 200 and state["answer"] == SAID and state["name"] == "a.png"
    with form(images, out, subject="ben") as page:
        assert page.get("next")[1]["done"] == 0
        assert page.post("answer/0", SAID)[0] == 200
    assert [one.subject for one in read_feedback(out)] == ["anna", "ben"]


def test_going_back_changes_the_answer_and_a_second_click_stores_nothing(images, tmp_path):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        first = page.post("answer/0", SAID)
        assert page.post("answer/0", SAID) == first  # the second click
        assert len(out.read_text().splitlines()) == 1
        status, state = page.post("answer/0", SAID | {"grade": 2})
        assert status == 200 and state["number"] == 1  # on to where it was
        assert len(out.read_text().splitlines()) == 2
        [stored] = read_feedback(out)
        assert stored.grade == 2
        page.post("answer/1", SAID)
        assert page.get("at/1")[1]["previous"] == 0 and page.get("at/0")[1]["previous"] is None
        assert page.get("at/7")[0] == 422
    assert page.collected.given == 3 and page.collected.done == 2


def test_many_clicks_at_once_store_one_answer(images, tmp_path):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        threads = [threading.Thread(target=page.post, args=("answer/0", SAID)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert page.get("next")[1]["done"] == 1
    assert len(out.read_text().splitlines()) == 1


def test_skipped_images_come_again_at_the_end_and_next_time(images, tmp_path):
    make_photos(images, "c.png", start=5)
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        order = [page.get("next")[1]["name"]]
        order.append(page.post("skip/0", {})[1]["name"])
        order.append(page.post("answer/1", SAID)[1]["name"])
        order.append(page.post("answer/2", SAID)[1]["name"])
        assert order == ["a.png", "c.png", "sub/b.png", "a.png"]
        assert page.post("skip/0", {})[1]["name"] == "a.png"  # the only one left
        assert page.post("skip/1", {})[1]["done"] == 2  # one that is answered stays so
    with form(images, out) as page:
        assert page.get("next")[1]["name"] == "a.png"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grade": None}, ["a grade is missing"]),
        ({"grade": 6}, ["grade"]),
        ({"grade": "x"}, ["grade"]),
        ({"evaluation": " "}, ["question 1"]),
        ({"reasons": "", "feeling": ""}, ["question 2", "question 3"]),
        ({"feeling": 5}, ["not text"]),
    ],
)
def test_answers_that_are_not_whole_are_refused_and_nothing_is_stored(images, tmp_path, changes, words):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        status, value = page.post("answer/0", SAID | changes)
        assert status == 422 and all(word in value["error"] for word in words)
        assert not out.exists() and page.get("next")[1]["number"] == 0


def test_without_the_token_nothing_is_served(images, tmp_path):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        token = page.path.strip("/")
        assert len(token) >= 30
        for path in ("/", "/next", "/images/0", "/favicon.ico", f"/{token[:-1]}/next", f"/{token}x/", f"/{token.swapcase()}/", "//", "/%00/", "/é/".encode().decode("latin-1")):
            status, _, data = page.raw("GET", path)
            assert status == 403 and token.encode() not in data, path
        body = json.dumps(SAID)
        assert page.raw("POST", "/answer/0", body, **{"Content-Type": "application/json"})[0] == 403
        assert page.raw("POST", f"/{token[1:]}/stop", "{}")[0] == 403
        assert not out.exists()
        assert page.get("next")[0] == 200  # it still runs
    with form(images, out) as other:
        assert other.path != page.path


def test_pages_elsewhere_reach_nothing_even_with_the_token(images, tmp_path):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        json_type = {"Content-Type": "application/json"}
        for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1", f"127.0.0.1:{page.port + 1}", ""):
            assert page.raw("GET", page.path, Host=host)[0] == 403, host
            assert page.raw("POST", page.path + "answer/0", json.dumps(SAID), Host=host, **json_type)[0] == 403, host
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{page.port}", f"http://127.0.0.1:{page.port + 1}"):
            assert page.raw("POST", page.path + "answer/0", json.dumps(SAID), Origin=origin, **json_type)[0] == 403, origin
        assert page.raw("POST", page.path + "answer/0", json.dumps(SAID), **{"Content-Type": "text/plain"})[0] == 422
        assert not out.exists()
        for host in (f"127.0.0.1:{page.port}", f"localhost:{page.port}"):
            assert page.raw("GET", page.path, Host=host)[0] == 200
        status, _, _ = page.raw("POST", page.path + "answer/0", json.dumps(SAID), Origin=f"http://127.0.0.1:{page.port}", **json_type)
        assert status == 200 and out.exists()


def test_only_the_images_that_were_found_are_served(images, tmp_path):
    (tmp_path / "secret.png").write_bytes((images / "a.png").read_bytes())
    (images / "notes.txt").write_text("private")
    with form(images, tmp_path / "feedback.jsonl") as page:
        wrong = ["images/../../secret.png", "images/..%2f..%2fsecret.png", "images/a.png", "images/", "images", "images/-1", "images/0/0", "images/+0", "images/٣"]
        wrong += ["notes.txt", "../", "at/", "answer/0", "stop", "images/9999999999999999999", "images/0x0", "%2e%2e/%2e%2e/etc/passwd"]
        for path in wrong:
            status, _, data = page.raw("GET", page.path + path.encode().decode("latin-1"))
            assert status in (403, 404) and b"PNG" not in data and b"private" not in data, path
        assert page.get("images/2")[0] == 422
        for path in ("next", "images/0", "at/0", ""):
            assert page.raw("POST", page.path + path, "{}")[0] == 404
        assert page.raw("DELETE", page.path)[0] == 501


def test_broken_bodies_are_refused_and_the_form_goes_on(images, tmp_path):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        for body in (b"{", b"[]", b"\xff", b"[" * 50_000, b" " * 200_000, b"5"):
            status, _, data = page.raw("POST", page.path + "answer/0", body, **{"Content-Type": "application/json"})
            assert status == 422 and json.loads(data)["error"]
        status, _, data = page.raw("POST", page.path + "answer/0", **{"Content-Type": "application/json", "Content-Length": "\xb2"})
        assert status == 422 and json.loads(data)["error"], "a digit that is none"
        assert page.post("answer/0", SAID | {"grade": 10**400})[0] == 422
        assert page.post("answer/99", SAID)[0] == 422
        assert page.post("answer/0", SAID)[0] == 200 and len(read_feedback(out)) == 1


def test_images_are_shown_upright_and_as_jpeg(tmp_path):
    (tmp_path / "images").mkdir()
    upright = picture(300, 200)
    stored, exif = turned(upright, 6)
    stored.save(tmp_path / "images" / "turned.jpg", quality=95, exif=exif)
    with form(tmp_path / "images", tmp_path / "f.jsonl") as page:
        status, headers, data = page.raw("GET", page.path + "images/0")
        assert status == 200 and headers["Content-Type"] == "image/jpeg"
        shown = Image.open(io.BytesIO(data))
        assert shown.size == (300, 200) and not shown.getexif() and difference(shown, upright) < 4


def test_images_that_cannot_be_read_are_passed_over_and_named(images, tmp_path):
    (images / "aa.jpg").write_bytes(bad_files()["text.jpg"])
    with form(images, tmp_path / "f.jsonl") as page:
        assert page.get("next")[1]["name"] == "a.png"
        state = page.post("answer/0", SAID)[1]
        assert state["name"] == "sub/b.png" and state["unreadable"] == 1
        assert page.raw("GET", page.path + "images/1")[0] == 404
    assert len(page.said) == 1 and "aa.jpg" in str(page.said[0].message) and page.collected.unreadable[0][0].endswith("aa.jpg")


@pytest.mark.skipif(os.name != "posix", reason="names that other systems do not allow")
def test_images_whose_names_feedback_cannot_hold_are_passed_over_and_named(images, tmp_path):
    odd = [b" lead.png", b"a\\b.png", b"C:x.png", b"bad\xe9.png"]
    for name in odd:
        shutil.copy(images / "a.png", os.path.join(os.fsencode(images), name))
    shutil.copy(images / "a.png", images / "ünï & blank.png")
    out = tmp_path / "f.jsonl"
    with form(images, out) as page:
        state = page.get("next")[1]
        assert state["unreadable"] == len(odd)
        while state["number"] is not None:
            state = page.post(f"answer/{state['number']}", SAID)[1]
        assert state["done"] == state["total"] - len(odd)
    assert len(page.collected.unreadable) == len(odd) and all("rename" in reason for _, reason in page.collected.unreadable)
    assert {one.image for one in read_feedback(out)} == {"a.png", "sub/b.png", "ünï & blank.png"}
    with form(images, out) as page:
        assert page.get("next")[1]["number"] is None, "nothing is asked again"


def test_what_cannot_be_written_is_said_on_the_page_and_not_counted(images, tmp_path):
    out = tmp_path / "feedback.jsonl"
    with form(images, out) as page:
        out.mkdir()
        status, value = page.post("answer/0", SAID)
        assert status == 500 and "cannot be written" in value["error"]
        assert page.get("next")[1]["number"] == 0
        out.rmdir()
        assert page.post("answer/0", SAID)[0] == 200


def test_the_page_is_whole_and_safe(images, tmp_path):
    name = "<script>alert(1)</script> & {{nonce}}"
    with form(images, tmp_path / "f.jsonl", subject=name) as page:
        status, headers, data = page.raw("GET", page.path)
        text = data.decode()
        assert status == 200 and "{{" not in text.split("const words")[0]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and headers["Cache-Control"] == "no-store"
        nonce = policy.split("'nonce-")[1].split("'")[0]
        assert text.count(f'nonce="{nonce}"') == 2  # the style and the script, both inline
        assert page.raw("GET", page.path)[1]["Content-Security-Policy"] != policy
        assert text.count("<script") == 1 and "<script>alert" not in text
        assert "http://" not in text and "https://" not in text and "//cdn" not in text
        words = json.loads(text.split("const words = ")[1].split(";\nconst $")[0])
        assert words["questions"] == dict(QUESTIONS) and words["subject"] == name
        for field in ("evaluation", "reasons", "feeling", "suggestion"):
            assert f'for="{field}"' in text and f'id="{field}"' in text
        assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text and 'lang="en"' in text


def test_a_form_that_cannot_work_is_refused_before_it_starts(images, tmp_path):
    out = tmp_path / "f.jsonl"
    (tmp_path / "empty").mkdir()
    refused(lambda: serve_form(images, out, subject=" "), "no name")
    refused(lambda: serve_form(images, tmp_path / "f.csv", subject="a"), "JSON Lines")
    refused(lambda: serve_form(tmp_path / "none", out, subject="a"), "not a folder")
    refused(lambda: serve_form(tmp_path / "empty", out, subject="a"), "no photographs")
    refused(lambda: serve_form(images, out, subject="a", source="painted"), "source")
    (tmp_path / "bad.jsonl").write_text("this is not feedback")
    refused(lambda: serve_form(images, tmp_path / "bad.jsonl", subject="a"), "image")
    (tmp_path / "file").write_text("")
    refused(lambda: serve_form(images, tmp_path / "file" / "f.jsonl", subject="a"), "cannot be written")
    with form(images, out) as page:
        assert not out.exists(), "trying to write leaves nothing behind"
        refused(lambda: serve_form(images, out, subject="a", port=page.port), "port")
