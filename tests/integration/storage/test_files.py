"""Files in an artifact store that is a local folder."""

import pytest

from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.storage.files import new_file


def test_a_file_gets_its_name_when_it_is_complete_and_replaces_an_older_one(tmp_path):
    url = f"file://{tmp_path}/folder/list.txt"
    for content in (b"first", b"second"):
        with new_file(url) as file:
            file.write(content)
            assert not (tmp_path / "folder" / "list.txt").exists() or content == b"second"
        assert (tmp_path / "folder" / "list.txt").read_bytes() == content


@pytest.mark.parametrize("error", [ValueError("a bad score"), KeyboardInterrupt()])
def test_an_error_while_writing_is_raised_unchanged_and_leaves_no_file(tmp_path, error):
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
