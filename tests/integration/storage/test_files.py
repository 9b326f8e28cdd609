"""Files in an artifact store that is a folder."""

import pytest

from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.storage.files import new_file


def test_a_file_has_its_name_when_it_is_whole_and_replaces_the_one_before(tmp_path):
    url = f"file://{tmp_path}/folder/list.txt"
    for content in (b"first", b"second"):
        with new_file(url) as file:
            file.write(content)
            assert not (tmp_path / "folder" / "list.txt").exists() or content == b"second"
        assert (tmp_path / "folder" / "list.txt").read_bytes() == content


@pytest.mark.parametrize("error", [ValueError("a bad score"), KeyboardInterrupt()])
def test_what_goes_wrong_while_writing_stays_what_it_is_and_leaves_nothing(tmp_path, error):
    def write():
        with new_file(f"file://{tmp_path}/list.txt") as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_refuses_is_one_line_with_advice(tmp_path):
    (tmp_path / "file").write_text("")

    def write():
        with new_file(f"file://{tmp_path}/file/list.txt", advice="The previous lists stay live."):
            pass

    with pytest.raises(ArtifactError, match=r"was not written: .*The previous lists stay live\.") as caught:
        write()
    assert "\n" not in str(caught.value)
