import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slidepipe.classifier.patch_files import find_patch_files, fingerprint_patches, read_patch_files
from slidepipe.errors import PatchFileError

MakePatches = Callable[..., Path]


def picture(value: int, *, side: int = 8, mode: str = "RGB", suffix: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (side, side), value if mode in {"L", "I;16"} else (value, 2, 3, 255)[: len(mode)]).save(
        stream, suffix
    )
    return stream.getvalue()


NAMES = {"valid/0/a.png": 10, "valid/1/b.png": 20, "c.png": 30}


@pytest.fixture(params=["folder", "zip"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakePatches:
    def fill(contents: dict[str, bytes]) -> Path:
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "patches.zip", "w") as archive:
                for name, content in contents.items():
                    archive.writestr(name, content)
            return tmp_path / "patches.zip"
        for name, content in contents.items():
            (tmp_path / "patches" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "patches" / name).write_bytes(content)
        return tmp_path / "patches"

    return fill


def test_patches_are_found_with_the_class_of_their_folder(make: MakePatches) -> None:
    contents = {name: picture(value) for name, value in NAMES.items()}
    hidden = {"valid/0/._a.png": b"?", "__MACOSX/0/a.png": b"?", "valid/readme.txt": b"?"}
    files = find_patch_files(make(contents | hidden))
    assert files.names == ("c.png", "valid/0/a.png", "valid/1/b.png")
    assert files.is_tumour == (None, False, True)
    assert len(files) == 3


@pytest.mark.parametrize(
    ("name", "is_tumour"),
    [
        ("tumor/x.JPG", True),
        ("Tumour/1.jpeg", True),
        ("normal/slide_1/x.tif", False),
        ("tumor/0/x.png", False),
        ("tumors/x.png", None),
    ],
)
def test_the_innermost_folder_that_names_a_class_counts(
    make: MakePatches, name: str, is_tumour: bool | None
) -> None:
    assert find_patch_files(make({name: b"not read"})).is_tumour == (is_tumour,)


def test_pixels_come_in_the_order_asked_for(make: MakePatches) -> None:
    files = find_patch_files(make({name: picture(value) for name, value in NAMES.items()}))
    pixels = read_patch_files(files, [2, 0, 2], 8)
    assert pixels.shape == (3, 8, 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels[:, 0, 0].tolist() == [[20, 2, 3], [30, 2, 3], [20, 2, 3]]
    assert read_patch_files(files, [], 8).shape == (0, 8, 8, 3)


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(make: MakePatches) -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (8, 8), (1, 2, 3, 250)).save(stream, "PNG")
    files = find_patch_files(make({"a.png": picture(1, mode="RGBA"), "b.png": stream.getvalue()}))
    assert read_patch_files(files, [0], 8)[0, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(PatchFileError, match=r"b\.png: transparent"):
        read_patch_files(files, [1], 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (picture(1, side=9), "9 × 9 px, but patches of 8 × 8 px"),
        (picture(1, mode="L"), "mode L, but RGB"),
        (picture(1)[:-30], "not a picture that can be read"),
        (b"no picture", "not a picture that can be read"),
        (b"", "not a picture that can be read"),
        (bytes(17 * 2**20), "17 MB, too many for a patch"),
    ],
)
def test_a_bad_patch_is_refused_by_name(make: MakePatches, content: bytes, message: str) -> None:
    files = find_patch_files(make({"0/bad.png": content}))
    with pytest.raises(PatchFileError, match=f"bad.png.*{message}"):
        read_patch_files(files, [0], 8)


def test_without_a_patch_the_source_is_refused(make: MakePatches) -> None:
    with pytest.raises(PatchFileError, match="holds no patch: none of 1 files"):
        find_patch_files(make({"a.txt": b""}))


@pytest.mark.parametrize("name", ["../a.png", "0/../../a.png", "/etc/a.png", "C:/a.png", "..\\a.png"])
def test_a_zip_file_with_names_that_lead_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "patches.zip", "w") as archive:
        member = zipfile.ZipInfo("placeholder")
        member.filename = name
        archive.writestr(member, picture(1))
    with pytest.raises(PatchFileError, match="leads out of it"):
        find_patch_files(tmp_path / "patches.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_file_with_two_patches_of_one_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "patches.zip", "w") as archive:
        for value in (1, 2):
            archive.writestr("0/a.png", picture(value))
    with pytest.raises(PatchFileError, match="1 names are there more than once"):
        find_patch_files(tmp_path / "patches.zip")


def test_a_damaged_member_of_a_zip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "patches.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0/a.png", picture(1))
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    with pytest.raises(PatchFileError, match=r"0/a\.png cannot be read: Bad CRC"):
        read_patch_files(find_patch_files(path), [0], 8)


def test_what_is_neither_folder_nor_zip_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PatchFileError, match="no such folder or zip file"):
        find_patch_files(tmp_path / "missing.zip")
    (tmp_path / "patches.zip").write_bytes(b"not a zip file")
    with pytest.raises(PatchFileError, match="neither a folder nor a zip file"):
        find_patch_files(tmp_path / "patches.zip")


def test_the_fingerprint_is_that_of_the_content(make: MakePatches) -> None:
    contents = {name: picture(value) for name, value in NAMES.items()}
    first = fingerprint_patches(find_patch_files(make(contents)))
    assert fingerprint_patches(find_patch_files(make(contents | {"c.png": picture(31)}))) != first
