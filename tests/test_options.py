import argparse
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.options import OPTIONS, Settings, add_options, settings


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser, tuple(OPTIONS))
    return parser.parse_args(arguments)


def given(**values: str) -> Settings:
    return Settings(values, {name: f"flag --{name}" for name in values})


def test_a_flag_beats_the_environment_and_each_value_says_where_it_is_from() -> None:
    environment = {"HARNESS_SEED": "1", "HARNESS_SIZE": "2", "HARNESS_MIRROR": ""}
    chosen = settings(parsed("--seed", "3", "--task", "a"), environment)
    assert chosen.values == {"seed": "3", "size": "2", "task": "a"}
    assert chosen.origins == {"seed": "flag --seed", "size": "environment HARNESS_SIZE", "task": "flag --task"}


def test_every_flag_has_its_environment_variable() -> None:
    environment = {f"HARNESS_{name.upper()}": f"of {name}" for name in OPTIONS}
    assert settings(parsed(), environment).values == {name: f"of {name}" for name in OPTIONS}


def test_help_names_the_variable_of_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = capsys.readouterr().out
    assert all(f"[{option.variable}]" in " ".join(shown.split()) for option in OPTIONS.values())


def test_an_option_that_a_verb_does_not_have_is_still_read_from_the_environment() -> None:
    assert settings(argparse.Namespace(), {"HARNESS_STORE": "x"}).path("store") == Path("x")


def test_flag_beats_environment_beats_file_beats_default_in_what_a_run_is_told_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explained(*flags: str) -> dict[str, list[str]]:
        assert main(["run", "demo", "--explain", *flags]) == 0
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
        return {row[0]: row[1:] for row in rows if len(row) == 3 and row[0]}

    for variable in ("HARNESS_SEED", "HARNESS_SIZE", "HARNESS_STORE", "HARNESS_MIRROR"):
        monkeypatch.delenv(variable, raising=False)
    plain = explained()
    assert plain["baselines"][1] == "default"
    assert plain["seeds"][1].startswith("file demo.yaml:")
    monkeypatch.setenv("HARNESS_SEED", "5")
    assert explained()["seeds"] == ["5", "environment HARNESS_SEED"]
    assert explained("--seed", "6,7")["seeds"] == ["6, 7", "flag --seed"]


def test_several_values_are_separated_by_commas_and_blanks_are_nobody_s_name() -> None:
    assert given(task=" a, b,,c ").words("task") == ("a", "b", "c")
    assert given().words("task") == ()
    assert given(seed="0, 13,2147483647").numbers("seed") == (0, 13, 2**31 - 1)
    assert given().numbers("seed") == ()


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1e3", "²", "٣", "0x10", str(2**31), "9" * 5000, "1 2", "all"])
def test_what_is_no_number_is_refused_with_the_place_it_came_from(text: str) -> None:
    with pytest.raises(HarnessError, match=r"^--seed \(flag --seed\): expected whole numbers, found '") as caught:
        given(seed=text).numbers("seed")
    assert len(str(caught.value)) < 200


def test_a_size_is_a_number_of_rows_or_all() -> None:
    assert given(size="10,all").sizes() == (10, "all")
    with pytest.raises(HarnessError, match=r"--size .*expected whole numbers of at least 1, found '0'"):
        given(size="0").sizes()


def test_the_number_of_workers_is_one_number_and_automatic_only_where_nothing_is_set() -> None:
    assert given().workers(4) == 4
    assert given(workers="2").workers(4) == 2
    for wrong in ("0", "1,2"):
        with pytest.raises(HarnessError, match=r"--workers \(flag --workers\): expected one number of at least 1"):
            given(workers=wrong).workers(4)


def test_a_mirror_that_is_no_folder_is_refused_for_data_would_silently_come_from_elsewhere(tmp_path: Path) -> None:
    assert given(mirror=str(tmp_path)).path("mirror") == tmp_path
    with pytest.raises(HarnessError, match=r"the mirror .*nowhere \(flag --mirror\) is no folder"):
        given(mirror=str(tmp_path / "nowhere")).path("mirror")
    assert given(store=str(tmp_path / "nowhere")).path("store") == tmp_path / "nowhere", "a store is made when needed"


def test_a_tilde_is_the_home_folder_for_the_environment_is_not_expanded_by_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given(store="~/store").path("store") == tmp_path / "store"


@pytest.mark.parametrize("text", ["~nobody-at-all/x", "x" * 5000, "a\0b"])
def test_what_cannot_be_a_path_is_refused_not_raised(text: str) -> None:
    with pytest.raises(HarnessError, match="cannot be used as a path: "):
        given(store=text).path("store")
