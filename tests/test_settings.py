"""Every setting from every place: precedence, sources, messages that say the mend, and no secret in any of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings import (
    DESCRIPTIONS,
    ENVIRONMENT,
    Settings,
    environment,
    main_process_rank,
    ranks_here,
    ray_address,
    without_userinfo,
)

# setting: (variable, text in the environment, value, another value)
EVERY = {
    "mode": ("TRAINER_HOOKS_MODE", "offline", "offline", "disabled"),
    "directory": ("TRAINER_HOOKS_DIR", "/data/runs", "/data/runs", "elsewhere"),
    "run_id": ("TRAINER_HOOKS_RUN_ID", "night 7", "night 7", "day"),
    "job_id": ("JOB_ID", "123", "123", "124"),
    "callback_url": ("CALLBACK_URL", "http://host/api/v1", "http://host/api/v1", "http://other/api/v1"),
    "token": ("TRAINER_HOOKS_TOKEN", "hunter2", "hunter2", "other"),
    "token_file": ("TRAINER_HOOKS_TOKEN_FILE", "/run/token", "/run/token", "/run/other"),
    "storage": ("TRAINER_HOOKS_STORAGE", "s3://bucket/x", "s3://bucket/x", "file:///data"),
    "storage_endpoint": ("INTERNAL_STORAGE_ENDPOINT", "http://minio:9000", "http://minio:9000", "http://other"),
    "storage_access_key": ("INTERNAL_STORAGE_ACCESS_KEY", "hunter2", "hunter2", "other"),
    "storage_secret_key": ("INTERNAL_STORAGE_SECRET_KEY", "hunter2", "hunter2", "other"),
    "storage_bucket": ("INTERNAL_BUCKET_CHECKPOINTS", "checkpoints", "checkpoints", "other"),
    "dataset_storage": ("TRAINER_HOOKS_DATASET_STORAGE", "s3://bucket/x", "s3://bucket/x", "file:///data"),
    "dataset_endpoint": ("EXTERNAL_STORAGE_ENDPOINT", "http://minio:9000", "http://minio:9000", "http://other"),
    "dataset_access_key": ("EXTERNAL_STORAGE_ACCESS_KEY", "hunter2", "hunter2", "other"),
    "dataset_secret_key": ("EXTERNAL_STORAGE_SECRET_KEY", "hunter2", "hunter2", "other"),
    "dataset_bucket": ("EXTERNAL_BUCKET_DATASETS", "training-datasets", "training-datasets", "other"),
    "dataset_allow": ("TRAINER_HOOKS_DATASET_ALLOW", "s3://a/,s3://b/", "s3://a/,s3://b/", "file:///data"),
    "dataset_cache": ("DATASET_CACHE_DIR", "/data/cache", "/data/cache", "elsewhere"),
    "dataset_cache_max_gb": ("DATASET_CACHE_MAX_GB", "7.5", 7.5, 1),
    "backend": ("TRAINER_HOOKS_BACKEND", "/data/backend", "/data/backend", "elsewhere"),
    "serve_token": ("TRAINER_HOOKS_SERVE_TOKEN", "hunter2", "hunter2", "other"),
    "serve_token_file": ("TRAINER_HOOKS_SERVE_TOKEN_FILE", "/run/serve", "/run/serve", "/run/other"),
    "serve_url": ("TRAINER_HOOKS_SERVE_URL", "https://host/runs", "https://host/runs", "https://other"),
    "serve_store": ("TRAINER_HOOKS_SERVE_STORE", "postgresql://h/a", "postgresql://h/a", "postgresql://h/b"),
    "model_directory": ("TRAINER_HOOKS_MODEL_CACHE", "/data/models", "/data/models", "elsewhere"),
    "synapse_host": ("SYNAPSE_HOST", "https://synapse", "https://synapse", "https://other"),
    "synapse_token": ("SYNAPSE_ACCESS_TOKEN", "hunter2", "hunter2", "other"),
    "synapse_user_token": ("SYNAPSE_PLUGIN_RUN_USER_TOKEN", "hunter2", "hunter2", "other"),
    "synapse_tenant": ("SYNAPSE_PLUGIN_RUN_TENANT", "hunter2", "hunter2", "other"),
    "synapse_job": ("SYNAPSE_JOB_ID", "41", "41", "42"),
    "resume": ("TRAINER_HOOKS_RESUME", "auto", "auto", "never"),
    "clearml": ("TRAINER_HOOKS_CLEARML", "1", True, False),
    "clearml_project": ("TRAINER_HOOKS_CLEARML_PROJECT", "Project 12", "Project 12", "other"),
    "clearml_task": ("TRAINER_HOOKS_CLEARML_TASK", "Training Job 7", "Training Job 7", "other"),
    "delivery": ("TRAINER_HOOKS_DELIVERY", "thread", "thread", "none"),
    "flush_timeout": ("TRAINER_HOOKS_FLUSH_TIMEOUT", "2.5", 2.5, 7),
    "linger": ("TRAINER_HOOKS_LINGER", "60", 60.0, 7),
    "heartbeat": ("TRAINER_HOOKS_HEARTBEAT", "5", 5.0, 7),
    "stalled_after": ("TRAINER_HOOKS_STALLED_AFTER", "3", 3.0, 7),
    "retry_delay": ("CALLBACK_RETRY_DELAY", "0.5", 0.5, 7),
    "log_level": ("TRAINER_HOOKS_LOG_LEVEL", "WARNING", "WARNING", "OFF"),
    "iteration_metrics": ("TRAINER_HOOKS_ITERATION_METRICS", "50", 50, 7),
    "journal_limit": ("TRAINER_HOOKS_JOURNAL_LIMIT", "1000000", 1_000_000, 0),
}
SECRETS = {
    "serve_store",
    "token",
    "storage_access_key",
    "storage_secret_key",
    "dataset_access_key",
    "dataset_secret_key",
    "serve_token",
    "synapse_token",
    "synapse_user_token",
    "synapse_tenant",
}
every_setting = pytest.mark.parametrize("name", EVERY)


@pytest.fixture
def config(tmp_path):
    """Writes a settings file; returns the environment that names it."""

    def write(text: str) -> dict[str, str]:
        path = tmp_path / "hooks.toml"
        path.write_text(text)
        return {"TRAINER_HOOKS_CONFIG": str(path)}

    return write


def load(environ: dict[str, str] | None = None, **arguments: object) -> Settings:
    return Settings.load(environ={} if environ is None else environ, **arguments)


def toml(name: str) -> str:
    value = EVERY[name][2]
    return f"{name} = {msgspec.json.encode(value).decode()}\n"


def test_every_setting_is_covered_here():
    assert set(EVERY) == set(Settings.__struct_fields__) == set(ENVIRONMENT) == set(DESCRIPTIONS)
    assert {name for name, env in ENVIRONMENT.items() if env.secret} == SECRETS


def test_the_defaults_deliver_nothing_anywhere():
    settings = load()
    assert settings == Settings()
    assert (settings.mode, settings.delivery) == ("online", "process")
    assert (settings.callback_url, settings.storage_uri, settings.bearer_token()) == (None, None, None)
    assert settings.sources == {}
    assert all(source == "default" for _, source in settings.shown().values())


@every_setting
def test_a_setting_is_read_from_the_environment(name):
    variable, text, value, _ = EVERY[name]
    settings = load({variable: text})
    assert getattr(settings, name) == value
    assert settings.sources == {name: variable}


@every_setting
def test_an_empty_or_blank_variable_counts_as_unset(name):
    variable = EVERY[name][0]
    assert load({variable: ""}) == load({variable: " \n"}) == Settings()


@every_setting
def test_the_newline_at_the_end_of_a_mounted_secret_does_not_count(name):
    variable, text, value, _ = EVERY[name]
    assert getattr(load({variable: f"{text}\n"}), name) == value


@every_setting
def test_an_argument_goes_before_the_environment(name):
    variable, text, _, other = EVERY[name]
    settings = load({variable: text}, **{name: other})
    assert getattr(settings, name) == other
    assert settings.sources == {name: "argument"}
    assert load({variable: text}, **{name: None}) == load({variable: text})


@pytest.mark.parametrize("name", sorted(set(EVERY) - SECRETS))
def test_a_setting_is_read_from_the_file_unless_the_environment_has_it(name, config):
    variable, text, value, other = EVERY[name]
    environ = config(toml(name))
    settings = load(environ)
    assert getattr(settings, name) == value
    assert settings.sources == {name: environ["TRAINER_HOOKS_CONFIG"]}
    assert load({**environ, variable: ""}) == settings
    assert load({**environ, variable: str(other)}).sources == {name: variable}
    assert getattr(load({**environ, variable: text}, **{name: other}), name) == other


def test_a_file_of_the_usual_name_in_the_working_directory_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load().job_id is None
    Path("trainer_hooks.toml").write_text('job_id = "7"\n')
    settings = load()
    assert settings.job_id == "7"
    assert settings.shown()["job_id"] == ("7", "trainer_hooks.toml")


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("TRAINER_HOOKS_MODE", "Online", ["'mode'", "'Online'", "online, offline, disabled"]),
        ("TRAINER_HOOKS_DELIVERY", "carrier pigeon", ["'delivery'", "process, thread, none"]),
        ("TRAINER_HOOKS_LOG_LEVEL", "loud", ["'log_level'", "'loud'", "DEBUG, INFO, WARNING, ERROR, OFF"]),
        ("TRAINER_HOOKS_FLUSH_TIMEOUT", "30s", ["'flush_timeout'", "'30s'", "float", "seconds"]),
        ("TRAINER_HOOKS_FLUSH_TIMEOUT", "-1", ["'-1'", ">= 0"]),
        ("TRAINER_HOOKS_FLUSH_TIMEOUT", "nan", ["'nan'"]),
        ("TRAINER_HOOKS_FLUSH_TIMEOUT", "inf", ["'inf'"]),
        ("TRAINER_HOOKS_LINGER", "forever", ["'forever'"]),
        ("TRAINER_HOOKS_LINGER", "inf", ["'inf'"]),
        ("CALLBACK_RETRY_DELAY", "1e400", ["'1e400'"]),
        ("TRAINER_HOOKS_ITERATION_METRICS", "1.5", ["'1.5'", "int", "n-th iteration"]),
        ("TRAINER_HOOKS_ITERATION_METRICS", "-2", ["'-2'"]),
    ],
)
def test_a_value_that_can_not_be_used_is_refused_with_its_place_and_the_mend(variable, value, parts):
    with pytest.raises(InvalidSetting) as caught:
        load({variable: value})
    assert all(part in str(caught.value) for part in [variable, *parts])


def test_a_bad_argument_is_refused_with_the_mend():
    with pytest.raises(InvalidSetting, match=r"'clearml' from argument can't be 'maybe': 1, true, 0 or false"):
        load(clearml="maybe")
    with pytest.raises(InvalidSetting, match=r"'mode' from argument can't be 'on': one of online, offline, disabled"):
        load(mode="on")
    with pytest.raises(InvalidSetting, match=r"'runid' is not a setting .known: mode, directory, run_id"):
        load(runid="x")
    assert load(directory=Path("/data")).root == Path("/data")


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_message_and_no_listing_shows_a_credential(name, config):
    variable = EVERY[name][0]
    with pytest.raises(InvalidSetting) as caught:
        load(**{name: 20241})
    assert "20241" not in str(caught.value)
    with pytest.raises(InvalidSetting, match=variable) as caught:
        load(config(f'{name} = "hunter2"\n'))
    assert "hunter2" not in str(caught.value)
    assert load({variable: "hunter2"}).shown()[name] == ("****", variable)


def test_addresses_are_shown_without_the_password_in_them():
    settings = load({"CALLBACK_URL": "https://user:hunter2@host/api/v1", "TRAINER_HOOKS_STORAGE": "s3://k:hunter2@b/p"})
    assert settings.shown()["callback_url"] == ("https://host/api/v1", "CALLBACK_URL")
    assert "hunter2" not in str(settings.shown())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode = ", "not valid TOML"),
        ("mode", "not valid TOML"),
        ('colour = "red"', "'colour' is not a setting"),
        ("[mode]\nx = 1", "'mode' from"),
        ("directory = 5", "'directory' from"),
        ('flush_timeout = "soon"', "'soon'"),
        ("linger = inf", "inf"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_by_its_name(config, text, message):
    environ = config(text)
    with pytest.raises(InvalidSetting) as caught:
        load(environ)
    assert message in str(caught.value)
    assert environ["TRAINER_HOOKS_CONFIG"] in str(caught.value)


def test_a_file_that_is_named_but_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidSetting, match=r"TRAINER_HOOKS_CONFIG names .*gone.toml.*No such file"):
        load({"TRAINER_HOOKS_CONFIG": str(tmp_path / "gone.toml")})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSetting, match="not valid TOML"):
        load({"TRAINER_HOOKS_CONFIG": str(tmp_path / "binary.toml")})


def test_a_rotated_token_file_is_read_anew(tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")
    settings = load({"TRAINER_HOOKS_TOKEN_FILE": str(path)})
    assert settings.bearer_token() == "first"
    path.write_text("second")
    assert settings.bearer_token() == "second"
    path.write_text("\n")
    assert settings.bearer_token() is None
    assert load({"TRAINER_HOOKS_TOKEN_FILE": str(path), "TRAINER_HOOKS_TOKEN": "direct"}).bearer_token() == "direct"


def test_the_receivers_token_is_its_own_and_an_empty_file_lets_nobody_in(tmp_path):
    file = tmp_path / "token"
    file.write_text("secret-of-the-receiver\n")
    settings = load(serve_token_file=str(file), token="of-the-platform")
    assert (settings.receiver_token(), settings.bearer_token()) == ("secret-of-the-receiver", "of-the-platform")
    assert "secret-of-the-receiver" in settings.secrets()
    file.write_text("\n")
    with pytest.raises(InvalidSetting, match=r"TRAINER_HOOKS_SERVE_TOKEN_FILE names .*, which is empty"):
        settings.receiver_token()
    assert load().receiver_token() is None


def test_a_token_file_that_can_not_be_read_is_named(tmp_path):
    with pytest.raises(InvalidSetting, match=r"TRAINER_HOOKS_TOKEN_FILE names .*gone.*No such file"):
        load(token_file=str(tmp_path / "gone")).bearer_token()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSetting, match="it is no text"):
        load(token_file=str(tmp_path / "binary")).bearer_token()


def test_a_bucket_alone_is_a_place_for_checkpoints():
    assert load(storage_bucket="b").storage_uri == "s3://b"
    assert load(storage_bucket="b", storage="file:///data").storage_uri == "file:///data"


CHILD = """
import msgspec
from trainer_hooks.settings import Settings
print(msgspec.json.encode(Settings.load()).decode())
"""


def in_another_process(settings: Settings, environ: dict[str, str], cwd: Path) -> Settings:
    """What a process with another working directory makes of it, as the courier is."""
    package = str(Path(__file__).parent.parent)
    env = {**os.environ, **environ, **settings.as_environment(), "PYTHONPATH": package}
    output = subprocess.run(
        [sys.executable, "-c", CHILD], env=env, cwd=cwd, capture_output=True, check=True, timeout=60
    )
    return msgspec.json.decode(output.stdout, type=Settings)


def test_another_process_gets_these_very_settings(tmp_path):
    given = {name: other for name, (_, _, _, other) in EVERY.items()}
    places = {"directory": "/runs", "dataset_cache": "/datasets", "backend": "/backend", "model_directory": "/models"}
    given |= {**places, "token_file": "/run/token", "serve_token_file": "/run/serve"}
    settings = load(**given)
    assert in_another_process(settings, {}, tmp_path) == settings
    defaults = load(**places)
    everything_else = {variable: text for variable, text, _, _ in EVERY.values()}
    assert in_another_process(defaults, everything_else, tmp_path) == defaults


_BOTH = {"SYNAPSE_PLUGIN_RUN_URL_HOST": "https://second", "SYNAPSE_HOST": "https://first"}


def test_of_two_variables_the_first_that_is_named_counts():
    assert (load(_BOTH).synapse_host, load(_BOTH).sources) == ("https://first", {"synapse_host": "SYNAPSE_HOST"})
    assert load({**_BOTH, "SYNAPSE_HOST": " "}).synapse_host == "https://second"


def test_another_process_hears_of_no_other_variable_of_a_setting():
    settings = load(_BOTH, synapse_host="https://argument")
    for told in (settings.as_environment(), settings.as_public_environment()):
        assert told["SYNAPSE_PLUGIN_RUN_URL_HOST"] == ""
        assert load({**_BOTH, **told}).synapse_host == "https://argument"


@pytest.mark.parametrize("name", ["backend", "synapse_host", "callback_url"])
@pytest.mark.parametrize(
    "address",
    ["ftp://host/x", "http:/host/api", "http://[x/api", "https://host:99999/api", "http://host:abc/", "http:// host/"],
)
def test_an_address_that_http_can_not_reach_is_refused_at_once(name, address):
    with pytest.raises(InvalidSetting, match=rf"{name} \(argument\) is .* write the backend's address as https://host"):
        load(**{name: address})


@pytest.mark.parametrize("directory", ["backend", "/data/b", "~/b", "a:b", "./http:", "https://host:8000/api/v1"])
def test_a_directory_is_a_backend_too(directory):
    assert load(backend=directory).backend == directory


def test_relative_paths_mean_the_same_in_another_process(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "hooks.toml").write_text('job_id = "7"\ndirectory = "runs"\ntoken_file = "token"\n')
    (there / "trainer_hooks.toml").write_text('run_id = "not mine"\n')
    monkeypatch.chdir(here)
    environ = {"TRAINER_HOOKS_CONFIG": "hooks.toml"}
    found = in_another_process(load(environ), environ, there)
    assert found.job_id == "7"
    assert found.run_id is None
    assert found.root == here / "runs"
    assert found.token_file == str(here / "token")


def test_what_is_kept_for_a_later_sync_holds_no_credential(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = {name: value for name, (_, _, value, _) in EVERY.items()}
    given |= {"callback_url": "http://user:hunter2@host/api/v1", "token_file": "token"}
    addresses = load(**given).addresses()
    assert addresses == {
        "job_id": "123",
        "callback_url": "http://host/api/v1",
        "token_file": str(tmp_path / "token"),
        "storage": "s3://bucket/x",
        "storage_endpoint": "http://minio:9000",
        "storage_bucket": "checkpoints",
        "retry_delay": 0.5,
        "clearml": True,
        "clearml_project": "Project 12",
        "clearml_task": "Training Job 7",
        "synapse_host": "https://synapse",
        "synapse_job": "41",
    }
    assert load(**addresses).addresses() == addresses
    assert load().addresses() == {"retry_delay": 2.0}


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://user:pass@host:80/a@b", "http://host:80/a@b"),
        ("http://us@er:p@ss@host/", "http://host/"),
        ("http://[bad@host/", "http://host/"),
        ("http://host/a@b?c=d@e", "http://host/a@b?c=d@e"),
        ("user@host", "user@host"),
        (7, 7),
        (None, None),
    ],
)
def test_an_address_loses_the_user_and_password_in_it(url, clean):
    assert without_userinfo(url) == clean


def test_behind_a_block_of_variables_the_environment_is_what_it_was(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "of the user")
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    before = environment()
    with ray_address("http://head:8265"):
        inside = environment()
        os.environ["RAY_ADDRESS"] = "of the block"
    assert (inside.get("RAY_ADDRESS"), inside["RAY_API_SERVER_ADDRESS"]) == (None, "http://head:8265")
    assert environment() == before


@pytest.mark.parametrize(
    ("environ", "rank"),
    [
        ({}, 0),
        ({"RANK": "3"}, 3),
        ({"RANK": "0", "LOCAL_RANK": "2"}, 0),
        ({"LOCAL_RANK": "2"}, 2),
        ({"SLURM_PROCID": "5", "LOCAL_RANK": "1"}, 5),
        ({"OMPI_COMM_WORLD_RANK": "4"}, 4),
        ({"PMI_RANK": "1"}, 1),
        ({"RANK": "-1"}, 0),
        ({"RANK": "-1", "LOCAL_RANK": "-1"}, 0),
        ({"RANK": "", "SLURM_PROCID": "1"}, 1),
        ({"RANK": "first"}, 0),
        ({"RANK": "²"}, 0),
        ({"RANK": " 1 "}, 1),
        ({"RANK": "1.0", "PMI_RANK": "0x1", "SLURM_PROCID": "+1"}, 0),
        ({"RANK": "9" * 5000}, 0),
        ({"RANK": "1", "WORLD_SIZE": "garbage"}, 1),
        # torchrun within srun, on the second node; and one torchrun in each of four tasks, each a world of its own
        ({"RANK": "0", "WORLD_SIZE": "8", "SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, 0),
        ({"RANK": "5", "WORLD_SIZE": "8", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, 5),
        ({"RANK": "0", "WORLD_SIZE": "1", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}, 0),
        # left over from elsewhere: no world of that size has such a rank
        ({"RANK": "1", "WORLD_SIZE": "1"}, 0),
        ({"RANK": "1", "WORLD_SIZE": "1", "SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, 2),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "1"}, 0),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "4"}, 3),
        # srun; an interactive or batch step by itself; a job array, whose tasks are jobs
        ({"SLURM_PROCID": "3", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}, 3),
        ({"SLURM_PROCID": "0", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"}, 0),
        ({"SLURM_PROCID": "0", "SLURM_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "7"}, 0),
        ({"SLURM_PROCID": "3", "PMI_RANK": "3", "PMI_SIZE": "4", "SLURM_NTASKS": "4"}, 3),
        ({"SLURM_PROCID": "3", "PMIX_RANK": "3", "PMIX_NAMESPACE": "slurm.pmix.7.0", "SLURM_NTASKS": "4"}, 3),
        # mpirun within a SLURM job: all ranks of a node have the number of what started them there
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "8", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 2),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 0),
        ({"PMI_RANK": "6", "PMI_SIZE": "8", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 6),
        ({"PMIX_RANK": "1", "SLURM_PROCID": "0"}, 1),
        # Kubernetes: a PyTorchJob's pods, torchrun in one of them; and the pods of an indexed job, which are jobs
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "job-master-0"}, 1),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "PET_NODE_RANK": "1", "GROUP_RANK": "0"}, 0),
        ({"JOB_COMPLETION_INDEX": "3", "PET_NODE_RANK": "3", "NODE_RANK": "3"}, 0),
        # Lightning's own launcher
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 1),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1", "WORLD_SIZE": "4"}, 1),
        ({"LOCAL_RANK": "1", "NODE_RANK": "2", "LOCAL_WORLD_SIZE": "4"}, 9),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, 0),
    ],
)
def test_the_rank_is_what_the_launcher_has_set(environ, rank):
    assert main_process_rank(environ) == rank


@pytest.mark.parametrize(
    ("environ", "ranks"),
    [({}, 1), ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, 8), ({"LOCAL_WORLD_SIZE": "none"}, 1)],
)
def test_how_many_ranks_are_here_is_what_torchrun_has_set(environ, ranks):
    assert ranks_here(environ) == ranks
