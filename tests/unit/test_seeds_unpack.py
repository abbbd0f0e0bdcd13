"""Device nodes in archives: they are recorded instead of made, and links to them too."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from stagewright.errors import StagewrightError
from stagewright.seeds.unpack import unpack

pytestmark = pytest.mark.real


def archive(path: Path, target: str, *, end: int) -> Path:
    """Write an archive with a node, a hard link to ``target``, and so many bytes of zeros at its end."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, link in (
            ("dev", tarfile.DIRTYPE, ""),
            ("dev/null", tarfile.CHRTYPE, ""),
            ("dev/x", tarfile.LNKTYPE, target),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.devmajor, info.devminor = kind, link, 0o755, 1, 3
            tar.addfile(info)
        size = tar.offset
    path.write_bytes(stream.getvalue()[:size] + bytes(end))
    return path


@pytest.mark.parametrize("end", [512, 10240], ids=["a lone block at the end", "a whole end"])
def test_links_to_device_nodes_are_nodes(tmp_path: Path, end: int) -> None:
    (tmp_path / "tree").mkdir()
    scan = unpack(archive(tmp_path / "seed.tar", "./dev/null", end=end), tmp_path / "tree", io.StringIO())
    assert [node.path for node in scan.devices] == ["/dev/null", "/dev/x"]
    assert {(node.type, node.major, node.minor) for node in scan.devices} == {("c", 1, 3)}
    assert not list((tmp_path / "tree/dev").iterdir())


def test_a_link_to_a_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(StagewrightError) as caught:
        unpack(archive(tmp_path / "seed.tar", "dev/missing", end=10240), tmp_path / "tree", io.StringIO())
    assert "Cannot hard link" in caught.value.detail
