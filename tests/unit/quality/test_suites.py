"""What the import of Great Expectations leaves out, until it is used."""

import subprocess
import sys

_PROGRAM = """
import sys
from ncf_pipeline.quality import suites

suites._great_expectations()
print("scipy.stats" in sys.modules, "altair" in sys.modules)

from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as rule
print(rule.stats.entropy([1.0]), "scipy.stats" in sys.modules)

import scipy.stats
print(rule.stats.entropy is scipy.stats.entropy)
"""


def test_what_no_rule_needs_is_imported_only_when_it_is_used():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["False False", "0.0 True", "True"], done.stderr
