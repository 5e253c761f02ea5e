"""What other people wrote and our pages run: the bytes that the lock names, with their licences, and in the package."""

from __future__ import annotations

import json
import shutil
import subprocess
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "src" / "ostiary" / "web" / "static" / "vendored"
SCRIPTS = ROOT / "scripts" / "vendored"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())


def test_every_file_is_the_one_that_was_looked_at() -> None:
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.js")}

    assert found == {name: entry["sha256"] for name, entry in MANIFEST.items()}


def test_every_package_is_locked_by_hash_and_its_licence_comes_along() -> None:
    locked = json.loads((SCRIPTS / "package-lock.json").read_text())["packages"]
    licences = (FOLDER / "LICENCES.txt").read_text()
    packages = {name: entry for made in MANIFEST.values() for name, entry in made["packages"].items()}

    assert packages.keys() == {"@noble/curves", "@noble/hashes", "hash-wasm"}
    for name, entry in packages.items():
        lock = locked[f"node_modules/{name}"]
        assert (lock["version"], lock["license"]) == (entry["version"], entry["license"]) == (lock["version"], "MIT")
        assert lock["integrity"].startswith("sha512-")
        assert f"{name}\n\n" in licences
    assert not any("resolved" in entry for entry in locked.values())


def test_the_script_makes_the_same_bytes_again(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node, "node is missing: `make test` installs it"

    subprocess.run([node, SCRIPTS / "build.mjs", tmp_path], check=True, timeout=120)

    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


def test_nothing_in_them_makes_code_of_a_text() -> None:
    for path in FOLDER.glob("*.js"):
        text = path.read_text()
        assert "eval(" not in text
        assert "Function(" not in text.replace("isFunction(", "")


def test_the_package_carries_them() -> None:
    packaged = files("ostiary.web") / "static" / "vendored"

    assert all((packaged / name).is_file() for name in (*MANIFEST, "LICENCES.txt", "manifest.json"))
