"""Building the servers: what a build depends on, and its course with a stand-in for `go`."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from cloudrec_local import build, toolchain
from cloudrec_local.build import RECIPES, Recipe, ensure, key, modules_in, source, target
from cloudrec_local.display import BuildDisplay
from cloudrec_local.errors import BuildError, StackError

KUBE = RECIPES["kube"]

FAKE_GO = """#!{python}
import os, pathlib, sys
verb = sys.argv[1]
calls = pathlib.Path(os.environ["FAKE_CALLS"])
with calls.open("a") as file:
    file.write(verb + "\\n")
if verb == "env":
    print("go1.26.3")
elif verb == "list":
    print("go: downloading example.org/a v1.0.0", file=sys.stderr)
    print("one\\ntwo")
elif verb == "build":
    print("one\\ntwo", file=sys.stderr)
    if os.environ.get("FAKE_FAILS"):
        print("x.go:1: it does not compile", file=sys.stderr)
        sys.exit(1)
    out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
    out.write_text("program")
    cache = pathlib.Path(os.environ["GOMODCACHE"], "read-only")
    if not cache.exists():
        cache.mkdir(parents=True)
        (cache / "file").touch()
        cache.chmod(0o500)
"""


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment whose `go` is the stand-in; it notes its calls in `calls`."""
    folder = tmp_path / "tools"
    folder.mkdir()
    program = folder / "go"
    program.write_text(FAKE_GO.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(build, "DISK_NEEDED", 0)
    for recipe in RECIPES.values():
        monkeypatch.delenv(recipe.override, raising=False)
    monkeypatch.delenv(build.KEEP, raising=False)
    return dict(os.environ)


def calls(tmp_path: Path) -> list[str]:
    path = tmp_path / "calls"
    return path.read_text().split() if path.exists() else []


def test_key_changes_with_everything_that_the_build_depends_on() -> None:
    module = {"go.mod": b"1", "go.sum": b"2", "main.go": b"3"}
    keys = [
        key(KUBE, module, "x86_64"),
        key(KUBE, module, "aarch64"),
        key(KUBE, module | {"go.sum": b"4"}, "x86_64"),
        key(KUBE, {"go.mod": b"1", "go.sum": b"3", "main.go": b"2"}, "x86_64"),
        key(Recipe("kube", "", "kube", ".", "", ("-s",)), module, "x86_64"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(KUBE, dict(reversed(module.items())), "x86_64") == keys[0]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_recipe_has_a_pinned_module(recipe: Recipe) -> None:
    assert modules_in((source(recipe) / "go.sum").read_text()) > 50
    version = recipe.title.split()[-1]
    assert f"v{version}" in (source(recipe) / "go.mod").read_text()


def test_modules_in_a_go_sum() -> None:
    assert modules_in("a v1 h1:x=\na v1/go.mod h1:y=\nb v2/go.mod h1:z=\n\n") == 1


def test_builds_once_and_clears_its_caches(tmp_path: Path, environ: dict[str, str]) -> None:
    cache = tmp_path / "cache"
    found = ensure(["kube", "livekit-server"], cache=cache, environ=environ)
    assert {name: path.read_text() for name, path in found.items()} == {"kube": "program", "livekit-server": "program"}
    assert os.access(found["kube"], os.X_OK)
    assert not (cache / "go").exists()
    before = calls(tmp_path)
    assert before.count("build") == 2
    assert ensure(["kube"], cache=cache, environ=environ) == {"kube": found["kube"]}
    assert calls(tmp_path) == before
    assert sorted(path.name for path in (cache / "bin").iterdir()) == sorted(path.name for path in found.values())


def test_keeps_its_caches_when_told(tmp_path: Path, environ: dict[str, str]) -> None:
    ensure(["kube"], cache=tmp_path / "cache", environ=environ | {build.KEEP: "1"})
    kept = tmp_path / "cache" / "go" / "mod" / "read-only"
    assert kept.exists()
    kept.chmod(0o700)


def test_failure_ends_with_the_log_and_leaves_no_program(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(BuildError) as caught:
        ensure(["kube"], cache=cache, environ=environ | {"FAKE_FAILS": "1"})
    assert "x.go:1: it does not compile" in caught.value.message
    assert str(cache / "logs" / "build-kube.log") in caught.value.message
    assert list((cache / "bin").iterdir()) == []
    assert (cache / "go").exists()  # the next try goes on from it


def test_two_at_once_build_once(tmp_path: Path, environ: dict[str, str]) -> None:
    cache = tmp_path / "cache"
    results: list[dict[str, Path]] = []
    threads = [
        threading.Thread(target=lambda: results.append(ensure(["kube"], cache=cache, environ=environ)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 2
    assert results[0] == results[1] == {"kube": target(KUBE, cache)}
    assert calls(tmp_path).count("build") == 1


def test_a_named_program_is_taken_as_it_is(tmp_path: Path) -> None:
    named = {KUBE.override: sys.executable}
    assert ensure(["kube"], cache=tmp_path, environ=named) == {"kube": Path(sys.executable)}
    with pytest.raises(StackError, match=KUBE.override):
        ensure(["kube"], cache=tmp_path, environ={KUBE.override: str(tmp_path / "none")})


def test_too_small_a_disk_is_told_before_anything_starts(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "DISK_NEEDED", 2**60)
    with pytest.raises(StackError, match="room"):
        ensure(["kube"], cache=tmp_path / "cache", environ=environ)
    assert calls(tmp_path) == []


def test_the_users_proxy_stays_and_the_rest_is_the_builds_own(tmp_path: Path) -> None:
    env = build.go_environment(
        tmp_path, {"GOPROXY": "p", "GOROOT": "r", "GOOS": "plan9", "GOFLAGS": "-race", "PATH": "x"}
    )
    assert (env["GOPROXY"], env["PATH"], env["GOTOOLCHAIN"], env["CGO_ENABLED"]) == ("p", "x", "local", "0")
    assert "GOROOT" not in env
    assert "GOOS" not in env
    assert env["GOCACHE"].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "version"), [("go1.26.6\n", (1, 26)), ("go1.9", (1, 9)), ("go2.0rc1", (2, 0)), ("devel", (0, 0))]
)
def test_version_of_go(text: str, version: tuple[int, int]) -> None:
    assert toolchain.parse_version(text) == version


def test_an_old_go_is_not_used_and_the_lack_of_installers_is_told(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "MINIMUM", (9, 0))
    monkeypatch.setattr(toolchain, "_installers", lambda target: [[sys.executable, "-c", "raise SystemExit('no net')"]])
    with pytest.raises(StackError, match="no net") as caught:
        toolchain.find_or_fetch(tmp_path / "toolchain", lambda text: None)
    assert "go.dev" in caught.value.hint
    assert not (tmp_path / "toolchain").exists()


def test_a_toolchain_is_fetched_in_one_step(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("go")
    assert program

    def installers(folder: Path) -> list[list[str]]:
        script = (
            "import pathlib, shutil, sys\n"
            "at = pathlib.Path(sys.argv[1], 'go', 'bin'); at.mkdir(parents=True); shutil.copy(sys.argv[2], at / 'go')\n"
        )
        return [[sys.executable, "-c", script, str(folder), program]]

    monkeypatch.setattr(toolchain, "_installers", installers)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    said: list[str] = []
    found = toolchain.find_or_fetch(tmp_path / "toolchain", said.append)
    assert found == tmp_path / "toolchain" / "go" / "bin" / "go"
    assert len(said) == 1
    assert toolchain.find_or_fetch(tmp_path / "toolchain", said.append) == found
    assert len(said) == 1


def test_without_a_terminal_a_line_now_and_then() -> None:
    now = [0.0]
    output = io.StringIO()
    with BuildDisplay(["K"], console=Console(file=output), clock=lambda: now[0]) as display:
        step = display.step("K")
        step.phase("compiling", 100)
        for _ in range(100):
            now[0] += 1
            step.advance()
        step.done()
    lines = output.getvalue().splitlines()[1:]
    assert lines[0] == "K: compiling"
    assert lines[1] == "K: compiling 15 of 100"
    assert lines[-1] == "K: built in 100 s"
    assert len(lines) == 8


def test_on_a_terminal_bars() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120)
    with BuildDisplay(["K", "L"], console=console) as display:
        step = display.step("K")
        step.phase("compiling", 4)
        for _ in range(3):
            step.advance()
        step.done()
    assert "built" in output.getvalue()
    assert "4/4" in output.getvalue()
    assert "waiting" in output.getvalue()
