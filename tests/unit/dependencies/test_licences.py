"""The licences of the locked packages: which are refused, and that the list is that of the lock."""

import pytest
from licences import LIST, differences, licences, listed, problems, stated_by, written
from lock import Licence, accepted, locked


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "BSD", "MPL-2.0", "LGPL-3.0-only", "LGPL", "PSF-2.0",
                                     "GNU Lesser General Public License v3 (LGPLv3)"])  # fmt: skip
def test_licences_that_a_shop_may_use(licence):
    assert problems({"a": licence}, []) == []


NOT_FOR_A_SHOP = ["GPL-3.0", "AGPL-3.0-or-later", "GNU General Public License v2 (GPLv2)", "SSPL-1.0", "BUSL-1.1"]
NOT_FOR_A_SHOP += ["MIT / GNU Affero General Public License v3", "CC-BY-NC-4.0", ""]


@pytest.mark.parametrize("licence", NOT_FOR_A_SHOP)
def test_licences_that_need_a_reason(licence):
    (line,) = problems({"a": licence}, [])
    assert line.startswith(f"a is under {licence}." if licence else "a states no licence.")
    assert problems({"a": licence}, [Licence("a", "GPL-3.0", "a program, not linked")]) == []


def test_an_exception_that_nothing_needs_is_reported():
    assert problems({"a": "MIT"}, [Licence("a", "MIT", ""), Licence("not-installed", "", "")]) == [
        "a is accepted, and need not be. Remove it from accepted.toml."
    ]


def test_the_list_is_that_of_the_lock_and_every_licence_is_accepted():
    versions, (_, exceptions) = locked(), accepted()
    stated = {package: licence for package in versions if (licence := stated_by(package)) is not None}
    assert len(stated) > 200
    assert problems(stated, exceptions) == []
    assert differences(listed(LIST.read_text()), versions, licences(stated, exceptions)) == []


def test_another_version_another_licence_and_what_is_no_longer_locked_are_reported():
    text = written({"a": "1", "b": "2", "c": "3"}, {"a": "MIT", "b": "MIT", "c": "MIT"}, [])
    lines = differences(listed(text), {"a": "1", "b": "2.1", "d": "4"}, {"a": "BSD", "d": "MIT"})
    assert [line.partition(".")[0][0] for line in lines] == ["c", "a", "b", "d"]
    assert lines[0] == "c is listed, and not locked. Write the list again: `make licences`."
    assert lines[1].startswith("a 1 is listed as 1 under MIT.")
    assert differences(listed(text), {"a": "1", "b": "2", "c": "3"}, {"a": "MIT"}) == []  # c is not installed here
