"""Signed maps: made by dmnil-map, demanded by dmnil-map verify and edge_runtime run."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dmnil_maps.cli import main as dmnil_map
from edge_runtime.cli import main as edge_runtime
from edge_runtime.contract.artefact import MANIFEST_NAME, SIGNATURE_NAME
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.sample_flight import SAMPLE_FLIGHT
from tests.small_map import rewrite_manifest, seal_again, write_small_map
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("", "other-"):
        pair = [str(folder / f"{name}private.pem"), str(folder / f"{name}public.pem")]
        assert dmnil_map(["keygen", *pair]) == 0
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny.encoder")


@pytest.fixture(scope="module")
def signed_original(tmp_path_factory: pytest.TempPathFactory, keys: Path, encoder: Path) -> Path:
    bundle = load_encoder_bundle(encoder)
    folder = write_small_map(
        tmp_path_factory.mktemp("map") / "small.map", bundle.encoder_sha256, bundle.descriptor_size
    )
    assert dmnil_map(["sign", str(folder), "--key", str(keys / "private.pem")]) == 0
    return folder


@pytest.fixture
def signed(signed_original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed_original, tmp_path / "signed.map"))


def flip_a_bit(path: Path, position: int = -5) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def unsign(folder: Path, keys: Path) -> None:
    (folder / SIGNATURE_NAME).unlink()


def sign_by_another(folder: Path, keys: Path) -> None:
    assert dmnil_map(["sign", str(folder), "--key", str(keys / "other-private.pem")]) == 0


def alter_manifest(folder: Path, keys: Path) -> None:
    rewrite_manifest(folder, imagery={"attribution": "somebody else"})


def alter_manifest_by_a_space(folder: Path, keys: Path) -> None:
    with (folder / MANIFEST_NAME).open("a") as stream:
        stream.write(" ")


def alter_descriptors(folder: Path, keys: Path) -> None:
    flip_a_bit(folder / "descriptors.npy")


def alter_preview(folder: Path, keys: Path) -> None:
    flip_a_bit(folder / "preview.jpg")


def alter_signature(folder: Path, keys: Path) -> None:
    flip_a_bit(folder / SIGNATURE_NAME)


def cut_signature_short(folder: Path, keys: Path) -> None:
    (folder / SIGNATURE_NAME).write_bytes(b"")


def add_a_file(folder: Path, keys: Path) -> None:
    (folder / "coarse_index.faiss").write_bytes(b"what no hash covers")


def remove_a_file(folder: Path, keys: Path) -> None:
    (folder / "tiles.npy").unlink()


def seal_forged_files(folder: Path, keys: Path) -> None:
    """What someone does who knows how manifests are written, but has no key."""
    signature = (folder / SIGNATURE_NAME).read_bytes()
    flip_a_bit(folder / "descriptors.npy")
    seal_again(folder)
    assert not (folder / SIGNATURE_NAME).exists()
    (folder / SIGNATURE_NAME).write_bytes(signature)


DAMAGES = [
    (unsign, "is not signed"),
    (sign_by_another, "another key signed it"),
    (alter_manifest, "manifest.json was altered"),
    (alter_manifest_by_a_space, "manifest.json was altered"),
    (alter_descriptors, "descriptors.npy was altered"),
    (alter_preview, "preview.jpg was altered"),
    (alter_signature, "does not confirm"),
    (cut_signature_short, "does not confirm"),
    (add_a_file, "coarse_index.faiss is not in the signed manifest"),
    (remove_a_file, "tiles.npy"),
    (seal_forged_files, "does not confirm"),
]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_a_signed_map_is_confirmed_by_its_key(signed, keys, capsys):
    assert dmnil_map(["verify", str(signed), "--key", str(keys / "public.pem")]) == 0
    assert "signed by" in capsys.readouterr().out


def test_an_unchecked_signature_is_not_passed_over_in_silence(signed, keys, capsys):
    assert dmnil_map(["verify", str(signed)]) == 0
    assert "its signature not checked" in capsys.readouterr().out
    unsign(signed, keys)
    assert dmnil_map(["verify", str(signed)]) == 0
    assert "not checked" not in capsys.readouterr().out


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_verify_refuses_what_the_key_does_not_confirm(signed, keys, capsys, damage, words):
    damage(signed, keys)
    capsys.readouterr()
    assert dmnil_map(["verify", str(signed), "--key", str(keys / "public.pem")]) == 2
    assert words in error_of(capsys)


def flight_arguments(folder: Path, encoder: Path, output: Path, keys: Path) -> list[str]:
    return [
        "run", f"--map={folder}", f"--encoder={encoder}", f"--frames={SAMPLE_FLIGHT / 'frames'}",
        f"--telemetry={SAMPLE_FLIGHT / 'frames.csv'}", f"--output={output}",
        f"--require-signed={keys / 'public.pem'}",
    ]  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_flight_refuses_what_the_key_does_not_confirm(
    signed, keys, encoder, tmp_path, capsys, monkeypatch, damage, words
):
    # Refused before this is called.
    monkeypatch.setattr("edge_runtime.opening.open_engine", None)
    damage(signed, keys)
    capsys.readouterr()
    output = tmp_path / "refused.flight"
    assert edge_runtime(flight_arguments(signed, encoder, output, keys)) == 2
    assert words in error_of(capsys)
    assert not output.exists()


def test_a_flight_takes_a_signed_map(signed, keys, encoder, tmp_path, monkeypatch):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(1, 4):
        shutil.copy(SAMPLE_FLIGHT / "frames" / f"{number:06}.jpg", frames)
    arguments = flight_arguments(signed, encoder, tmp_path / "new.flight", keys)
    assert edge_runtime([*arguments, f"--frames={frames}"]) == 0


def test_signing_again_replaces_the_signature(signed, keys):
    sign_by_another(signed, keys)
    assert dmnil_map(["verify", str(signed), "--key", str(keys / "other-public.pem")]) == 0


def test_a_map_that_is_not_whole_is_not_signed(signed, keys, capsys):
    unsign(signed, keys)
    flip_a_bit(signed / "descriptors.npy")
    assert dmnil_map(["sign", str(signed), "--key", str(keys / "private.pem")]) == 2
    assert "descriptors.npy was altered" in error_of(capsys)
    assert not (signed / SIGNATURE_NAME).exists()


def test_a_manifest_written_anew_drops_the_signature(signed):
    seal_again(signed)
    assert not (signed / SIGNATURE_NAME).exists()
    assert SIGNATURE_NAME not in load_region_map(signed).manifest["files"]


def test_the_private_key_is_for_its_owner_alone(keys):
    if os.name == "posix":
        assert stat.S_IMODE((keys / "private.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("existing", ["private.pem", "public.pem"])
def test_keys_are_never_replaced(tmp_path, capsys, existing):
    (tmp_path / existing).write_text("precious")
    pair = [str(tmp_path / "private.pem"), str(tmp_path / "public.pem")]
    assert dmnil_map(["keygen", *pair]) == 2
    assert "never replaced" in error_of(capsys)
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("none.pem", "cannot be read"),
        ("private.pem", "is a private key"),
        ("garbage.pem", "is something else"),
        ("curve.pem", "is something else"),
    ],
)
def test_a_wrong_public_key_is_one_line(signed, keys, capsys, given, words):
    (keys / "garbage.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    (keys / "curve.pem").write_bytes(
        curve.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    assert dmnil_map(["verify", str(signed), "--key", str(keys / given)]) == 2
    assert words in error_of(capsys)


@pytest.mark.parametrize(
    ("given", "words"), [("none.pem", "cannot be read"), ("public.pem", "is a public key")]
)
def test_a_wrong_private_key_is_one_line(signed, keys, capsys, given, words):
    assert dmnil_map(["sign", str(signed), "--key", str(keys / given)]) == 2
    assert words in error_of(capsys)


def test_a_key_with_a_passphrase_is_asked_for_at_a_terminal_only(
    signed, keys, tmp_path, capsys, monkeypatch
):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((keys / "private.pem").read_bytes(), None)
    path = tmp_path / "locked.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open"),
        )
    )
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert dmnil_map(["sign", str(signed), "--key", str(path)]) == 2
    assert "has a passphrase" in error_of(capsys)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("dmnil_maps.signing.getpass", lambda prompt: "shut")
    assert dmnil_map(["sign", str(signed), "--key", str(path)]) == 2
    assert "does not open" in error_of(capsys)
    monkeypatch.setattr("dmnil_maps.signing.getpass", lambda prompt: "open")
    assert dmnil_map(["sign", str(signed), "--key", str(path)]) == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs OpenSSL's command")
def test_openssl_makes_keys_and_checks_signatures_too(signed, tmp_path):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"

    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    assert dmnil_map(["sign", str(signed), "--key", str(private)]) == 0
    assert dmnil_map(["verify", str(signed), "--key", str(public)]) == 0
    openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin",
        "-in", signed / MANIFEST_NAME, "-sigfile", signed / SIGNATURE_NAME,
    )  # fmt: skip


def test_without_the_package_the_line_says_how_to_get_it(signed, keys):
    """A child process, since an imported package cannot be unlearnt."""
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from dmnil_maps.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    root = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join(str(root / name) for name in ("", "maps"))
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(signed), "--key", str(keys / "public.pem")],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'dmnil-edge[signing]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_that_is_no_map_is_one_line(tmp_path, keys, capsys):
    (tmp_path / "m.map").mkdir()
    (tmp_path / "m.map" / "notes.json").write_text(json.dumps({}))
    assert dmnil_map(["verify", str(tmp_path / "m.map"), "--key", str(keys / "public.pem")]) == 2
    assert "has no manifest" in error_of(capsys)
    assert dmnil_map(["verify", str(tmp_path / "none"), "--key", str(keys / "public.pem")]) == 2
    assert "has no manifest" in error_of(capsys)
