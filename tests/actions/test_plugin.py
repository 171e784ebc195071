"""A plugin's config.yaml: what it says of actions, and what is wrong with it, in plain words."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.actions.parts import PLUGIN
from trainer_hooks.actions.plugin import Plugin, read_plugin
from trainer_hooks.errors import InvalidAction, InvalidSetting


def written(folder: Path, text: str) -> Plugin:
    (folder / "config.yaml").write_text(text)
    plugin = read_plugin(folder)
    assert plugin is not None
    return plugin


def test_actions_are_found_by_their_names():
    plugin = read_plugin(PLUGIN)
    assert plugin is not None
    found = plugin.action("fit", PLUGIN)
    assert (found.entrypoint, found.method, found.description) == ("toy_actions.Fit", "job", "Fits nothing")
    assert plugin.variables() == {"TOY": "1"}


def test_a_folder_without_the_file_has_no_plugin(tmp_path):
    assert read_plugin(tmp_path) is None


def test_a_name_that_is_nearly_right_is_proposed(tmp_path):
    plugin = written(tmp_path, "actions: {train: {entrypoint: 'a:B'}}")
    with pytest.raises(InvalidAction, match=r"config\.yaml has no action 'trian'; did you mean 'train'\?"):
        plugin.action("trian", tmp_path / "config.yaml")


def test_what_is_served_is_not_run_here():
    plugin = read_plugin(PLUGIN)
    assert plugin is not None
    with pytest.raises(InvalidAction, match="'predict' is a serve; only those of the methods job and task run here"):
        plugin.action("predict", PLUGIN)


def test_each_value_that_can_not_be_used_is_named_with_its_key_and_file(tmp_path):
    text = "actions: {train: {entrypoint: 'a:B', method: batch}, test: {method: job}}"
    with pytest.raises(InvalidSetting) as caught:
        written(tmp_path, text)
    said = str(caught.value)
    assert str(tmp_path / "config.yaml") in said
    assert "actions.train.method is 'batch': Input should be 'job', 'task', 'serve' or 'restapi'" in said
    assert "actions.test.entrypoint: Field required" in said


@pytest.mark.parametrize("text", ["actions: [", '"\\ud800"'])
def test_a_file_that_is_none_is_named(tmp_path, text):
    with pytest.raises(InvalidSetting, match=r"config\.yaml can't be read"):
        written(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- a\n- b", "env: prod\ndefaults: [db: mysql]"])
def test_a_file_of_somebody_elses_is_no_plugin(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    assert read_plugin(tmp_path) is None


def test_a_value_of_env_is_not_shown(tmp_path):
    with pytest.raises(InvalidSetting) as caught:
        written(tmp_path, "actions: {}\nenv: hunter2-hunter2")
    assert "env" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_keys_that_nobody_knows_are_named_in_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "trainer_hooks"):
        written(tmp_path, "name: a\nactoins: {}\ntags: [x]\nactions: {train: {entrypoint: 'a:B', retrys: 3}}")
    said = [found.getMessage() for found in caplog.records]
    assert [message.partition("key ")[2] for message in said] == [
        "'actoins'; it is ignored",
        "'actions.train.retrys'; it is ignored",
    ]


def test_requirements_become_packages_of_the_cluster_environment(tmp_path):
    plugin = written(tmp_path, "actions: {}\npackage_manager: uv\nruntime_env: {env_vars: {A: b}}")
    (tmp_path / "requirements.txt").write_text("# wanted\nnumpy>=1.23\n--extra-index-url https://x.example\n")
    assert plugin.cluster_environment(tmp_path) == {
        "env_vars": {"A": "b"},
        "uv": {
            "packages": ["numpy>=1.23"],
            "uv_pip_install_options": ["--extra-index-url", "https://x.example"],
        },
    }


def test_packages_of_its_own_runtime_env_go_before_requirements(tmp_path):
    plugin = written(tmp_path, "actions: {}\nruntime_env: {pip: [scipy]}")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    assert plugin.cluster_environment(tmp_path) == {"pip": ["scipy"]}
