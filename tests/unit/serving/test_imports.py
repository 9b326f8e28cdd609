"""What the tasks `prepare` and `publish` of a small shop need not wait for."""

import subprocess
import sys

_PROGRAM = """
import sys
import ncf_pipeline.serving.publish

print([name for name in ("torch", "numba", "great_expectations") if name in sys.modules])
"""


def test_what_publishes_imports_neither_what_scores_nor_what_checks_before_it_is_needed():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
