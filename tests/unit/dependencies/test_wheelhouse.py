"""The wheels for the images are those that their Python needs, whichever Python downloads them."""

import re

import wheelhouse
from lock import LAYERS, PROJECT
from resolve import blocks

LOCK = """# Written by `make lock`.
always==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
backport==5.0 ; python_full_version < '3.11.3' \\
    --hash=sha256:cc
elsewhere==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:dd
extra[one]==2.0 ; python_version < '3.12' \\
    --hash=sha256:ee
later==3.0 ; python_full_version == '3.13.*' \\
    --hash=sha256:ff
"""


def test_conditions_are_those_of_the_image_s_python():
    assert wheelhouse.for_image(LOCK) == (
        "always==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "backport==5.0 \\\n    --hash=sha256:cc\n"
        "extra[one]==2.0 \\\n    --hash=sha256:ee\n"
    )


def test_of_the_locks_nothing_else_is_left_out():
    for path in LAYERS:
        before, after = path.read_text(), wheelhouse.for_image(path.read_text())
        assert " ; " not in after
        unconditional = {name for name, block in blocks(before).items() if " ; " not in block}
        assert unconditional <= set(blocks(after))
        assert after.count("--hash=") == sum(
            block.count("--hash=") for name, block in blocks(before).items() if name in blocks(after)
        )


def test_it_is_the_python_of_the_images():
    found = re.findall(r"python:?(\d\.\d+)", (PROJECT / "docker" / "Dockerfile").read_text())
    assert set(found) == {wheelhouse.PYTHON}
