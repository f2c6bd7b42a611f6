"""``check`` finds fleets that are unlike single fits, and releases that ignore their members, by name."""

import pytest


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("swapped_fleet", "fit_many is unlike fit on feature records"),
        ("vague_fleet", "fit_many is unlike fit on feature records"),
        ("finished", "does not respond to its members"),
    ],
)
def test_check_says_by_name_what_is_wrong(cli, cheats, name, why):
    told = cli("check", "methods", name, check=1, path=[cheats])
    failed = [line for line in told.stdout.splitlines() if line.lstrip().startswith("failed")]
    assert len(failed) == 1 and f"{name} " in failed[0].replace(":", " ") and why in failed[0]
