"""What a dry run says beside its jobs: how many networks, how much time and disk they will take."""

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


def test_a_dry_run_says_what_is_to_come(fresh):
    said = fresh.snakemake("-n", "--quiet", "rules")
    (line,) = [line for line in said.splitlines() if line.startswith("two: ")]
    assert line.startswith(
        "two: 2 cells (depth 1 × width 4 × init_scale 2.0 × n_train 8, 16), 2 draws × 2 seeds = 8 networks; about "
    )
    assert "of one core (12 training steps" in line and "disk: probe kernels" in line and line.endswith("MiB")
    assert [path.name for path in (fresh.folder / "results").iterdir()] == ["snakemake_records"]
