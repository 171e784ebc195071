"""Whole files pass, damaged ones don't: with torch's own files, and every cut and flip that a container can show."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
import zipfile

import pytest
import torch

from trainer_hooks.checkpoint_files import DamagedCheckpoint, examine, examine_folder

STATE = {
    "model": {
        "weight": torch.arange(1.0, 65.0).reshape(8, 8),
        "half": torch.full((5,), 3, dtype=torch.half),
        "steps": torch.tensor(7),
        "nothing": torch.zeros(0),
    },
    "epoch": 3,
}


def zip_format():
    return saved(STATE)


def legacy_format():
    return saved(STATE, _use_new_zipfile_serialization=False)


def legacy_format_without_tensors():
    return saved({"epoch": 3}, _use_new_zipfile_serialization=False)


def legacy_format_of_protocol_4():
    return saved(STATE, _use_new_zipfile_serialization=False, pickle_protocol=4)


def plain_pickle():
    return pickle.dumps({"model": list(range(100))})


def deflated_zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights", bytes(range(256)) * 4)
    return stream.getvalue()


def safetensors(header=None, data=bytes(range(1, 41))):
    described = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [24, 40]},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    }
    header = json.dumps(described if header is None else header).encode()
    return len(header).to_bytes(8, "little") + header + data


def tar(**files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in (files or {"model.safetensors": safetensors(), "optimizer.pt": saved(STATE)}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        end = archive.offset
    return stream.getvalue()[: end + 1024]  # without what fills the last record


def saved(state, **options):
    stream = io.BytesIO()
    torch.save(state, stream, **options)
    return stream.getvalue()


WHOLE = {
    zip_format: ".pt",
    legacy_format: ".pth",
    legacy_format_without_tensors: ".pth",
    legacy_format_of_protocol_4: ".pth",
    plain_pickle: ".pkl",
    deflated_zip: ".npz",
    safetensors: ".safetensors",
    tar: ".tar",
}
every_container = pytest.mark.parametrize(("container", "suffix"), WHOLE.items())


@pytest.fixture
def examined(tmp_path):
    def examine_content(content, suffix):
        path = tmp_path / "staged"
        path.write_bytes(content)
        return examine(path, suffix)

    return examine_content


@pytest.fixture
def is_damaged(examined):
    def ask(content, suffix):
        try:
            examined(content, suffix)
        except DamagedCheckpoint:
            return True
        return False

    return ask


@every_container
def test_a_whole_file_is_described_by_its_size_and_hash(examined, container, suffix):
    content = container()

    whole = examined(content, suffix)

    assert (whole.size, whole.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@every_container
def test_the_name_may_promise_another_container_than_the_file_has(examined, container, suffix):
    assert examined(container(), ".bin" if suffix == ".safetensors" else ".pt")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".onnx", ".bin"])
def test_an_empty_file_is_damaged(is_damaged, suffix):
    assert is_damaged(b"", suffix)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".onnx"])
def test_a_file_of_zeros_is_damaged(is_damaged, suffix):
    assert is_damaged(bytes(5000), suffix)


@pytest.mark.parametrize("container", [zip_format, deflated_zip, legacy_format_without_tensors, safetensors, tar])
def test_a_file_cut_anywhere_behind_its_magic_number_is_damaged(is_damaged, container):
    content = container()

    passed = [size for size in range(4, len(content), 7) if not is_damaged(content[:size], WHOLE[container])]

    assert passed == []


@pytest.mark.parametrize("container", [legacy_format, legacy_format_of_protocol_4])
def test_a_legacy_file_cut_within_its_pickles_or_its_last_tensor_is_damaged(is_damaged, container):
    content = container()
    pickles = content.index(b"weight")

    assert all(is_damaged(content[:size], ".pth") for size in (20, pickles, len(content) - 1, len(content) - 9))
    assert is_damaged(content + b"\0", ".pth")


def test_a_torn_zip_is_damaged_when_its_size_is_right(is_damaged):
    content = zip_format()

    assert is_damaged(content[:-512] + bytes(512), ".pt")
    assert is_damaged(content[:512] + bytes(512) + content[1024:], ".pt")


@pytest.mark.parametrize("container", [zip_format, deflated_zip])
def test_a_flipped_bit_in_a_zip_members_content_or_name_is_damaged(is_damaged, container):
    content = container()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.header_offset, info.orig_filename, archive.read(info)) for info in archive.infolist()]
        places = [offset for offset, _, _ in members]
        places += [content.index(name.encode(), offset) for offset, name, _ in members]
        if container is zip_format:
            places += [content.index(data, offset) + len(data) // 2 for offset, _, data in members if data]

    passed = [place for place in places for bit in range(8) if not is_damaged(flipped(content, place, bit), ".pt")]

    assert passed == []


def test_a_flipped_bit_in_compressed_data_is_damaged(is_damaged):
    content = deflated_zip()
    data = content.index(b"weights") + len("weights")

    assert all(is_damaged(flipped(content, data + place, 5), ".npz") for place in range(0, 200, 10))


@every_container
def test_no_flipped_bit_is_more_than_damage(is_damaged, container, suffix):
    content = container()

    # Nothing but DamagedCheckpoint may come out of the parsers, whatever the file says.
    found = [
        is_damaged(flipped(content, place, place % 8), suffix)
        for place in (*range(0, len(content), 3), len(content) - 1)
    ]

    assert any(found)


def test_a_flipped_bit_in_front_of_a_zip_does_not_pass_it_off_as_another_format(is_damaged):
    assert is_damaged(flipped(zip_format(), 0, 0), ".pt")


def test_a_file_whose_crcs_torch_was_told_not_to_compute_is_whole(examined):
    computes = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(compute_crc32=False)
    try:
        content = zip_format()
    finally:
        torch.serialization.set_crc32_options(computes)

    assert examined(content, ".pt").size == len(content)


@pytest.mark.parametrize(
    "content",
    [
        safetensors(data=bytes(range(39))),
        safetensors(data=bytes(range(41))),
        safetensors(header={"a": {"data_offsets": [0, 20]}, "b": {"data_offsets": [24, 40]}}),
        safetensors(header={"a": {"data_offsets": [0, 30]}, "b": {"data_offsets": [24, 40]}}),
        safetensors(header={"a": {"dtype": "F32"}}),
        safetensors(header=[1]),
        b"\xff" * 8 + b"{}",
        b"{}",
    ],
)
def test_safetensors_whose_offsets_do_not_cover_the_file_are_damaged(is_damaged, content):
    assert is_damaged(content, ".safetensors")


def test_a_tar_without_its_end_is_damaged(is_damaged):
    content = tar()

    assert not is_damaged(content + bytes(9 * 1024), ".tar")
    assert is_damaged(content[:-512], ".tar")
    assert is_damaged(content + b"more", ".tar")


def test_a_flipped_bit_in_a_tars_header_is_damaged(is_damaged):
    content = tar()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        headers = [member.offset for member in archive]

    passed = [
        (header, place)
        for header in headers
        for place in (*range(0, 100, 7), *range(124, 154), 257)
        if not is_damaged(flipped(content, header + place, 0), ".tar")
    ]

    assert passed == []


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": safetensors()[:-1]},
        {"model.safetensors": b""},
        {"optimizer.pt": saved(STATE)[:-1]},
        {"pytorch_model.bin": saved(STATE)[:2000]},
        {"deep/in/it/rng_state_1.pth": bytes(3000)},
    ],
    ids=lambda files: next(iter(files)),
)
def test_a_torn_file_within_a_tar_is_named(examined, files):
    (name,) = files

    with pytest.raises(DamagedCheckpoint, match=f"{name} in it is damaged"):
        examined(tar(**{"config.json": b"{}", **files}), ".tar")


@pytest.mark.parametrize("files", [{"latest": b""}, {"__0_0.distcp": saved(STATE) * 2}, {"notes.txt": bytes(100)}])
def test_within_a_tar_only_what_torch_writes_has_to_be_whole(examined, files):
    assert examined(tar(**files), ".tar")


def test_a_file_of_torchs_may_end_in_tar(examined, is_damaged):
    assert examined(zip_format(), ".tar")
    assert examined(legacy_format(), ".tar")
    assert is_damaged(b"no tar", ".tar")


def test_each_file_in_a_folder_is_looked_at(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "model.safetensors").write_bytes(safetensors())
    examine_folder(tmp_path)
    (tmp_path / "inner" / "model.safetensors").write_bytes(safetensors()[:-1])

    with pytest.raises(DamagedCheckpoint, match=r"model\.safetensors in it is damaged"):
        examine_folder(tmp_path)


def test_nothing_in_the_file_is_run(examined, tmp_path):
    trap = tmp_path / "sprung"
    content = saved({"trap": Trap(trap)}, _use_new_zipfile_serialization=False)

    examined(content, ".pth")

    assert not trap.exists()


def test_an_unknown_format_only_has_to_be_there(examined):
    assert examined(b"\x08\x08\x12\x07pytorch", ".onnx").size == 11
    assert examined(bytes(100), ".bin").size == 100


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        examine(tmp_path / "gone.pt", ".pt")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def flipped(content, place, bit):
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
