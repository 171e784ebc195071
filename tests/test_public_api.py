"""What the package offers, and that asking for it costs nothing heavy."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import trainer_hooks
from trainer_hooks import autolog as autolog_function
from trainer_hooks import datasets, errors, run

ROOT = Path(__file__).parent.parent
STANDARD = "import __future__, importlib, typing"  # what it imports of Python's own; some of it is loaded in any case
HEAVY = {
    "torch",
    "boto3",
    "botocore",
    "requests",
    "httpx",
    "clearml",
    "ultralytics",
    "mmengine",
    "numpy",
    "click",
    "rich",
}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after the code has run in a fresh interpreter."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    return set(json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout))


def test_the_public_names_are_these():
    assert trainer_hooks.__all__ == [
        "Autolog",
        "ErrorType",
        "Run",
        "TrainerHooksError",
        "__version__",
        "autolog",
        "current_run",
        "get_checkpoint",
        "start_run",
    ]
    assert dir(trainer_hooks) == sorted(trainer_hooks.__all__)


def test_every_public_name_is_what_it_says():
    assert trainer_hooks.autolog is autolog_function
    assert trainer_hooks.Run is run.Run
    assert trainer_hooks.start_run is run.start_run
    assert trainer_hooks.current_run is run.current_run
    assert trainer_hooks.ErrorType is errors.ErrorType
    assert trainer_hooks.TrainerHooksError is errors.TrainerHooksError
    assert trainer_hooks.Autolog.__name__ == "Autolog"
    assert all(hasattr(trainer_hooks, name) for name in trainer_hooks.__all__)


def test_the_hook_of_mmengine_is_there_for_configs_and_loads_nothing_before():
    pytest.importorskip("mmengine")
    assert trainer_hooks.TrainerHook.__module__ == "trainer_hooks.integrations.mmengine"
    assert "mmengine" not in loaded_by("from trainer_hooks import *")


def test_no_module_hides_a_public_name():
    """Importing a module sets its name in the package, over a function of the same name."""
    modules = {module.name for module in pkgutil.iter_modules(trainer_hooks.__path__)}
    assert not modules & set(trainer_hooks.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'trainer_hooks' has no attribute 'autologg'"):
        _ = trainer_hooks.autologg
    assert not hasattr(trainer_hooks, "mlflow")


def test_star_import_gives_the_public_names():
    assert loaded_by("from trainer_hooks import *; assert callable(autolog) and callable(start_run)")


@pytest.mark.parametrize("first", ["import trainer_hooks.autologging", "from trainer_hooks import Autolog"])
def test_the_function_autolog_is_not_hidden_by_the_module_that_holds_it(first):
    assert loaded_by(f"{first}\nimport trainer_hooks\nassert callable(trainer_hooks.autolog), trainer_hooks.autolog")


def test_importing_the_package_loads_nothing_but_itself():
    bare, ours = loaded_by(STANDARD), loaded_by("import trainer_hooks")
    assert ours - bare == {"trainer_hooks"}
    assert not ours & (HEAVY | {"msgspec"})


def test_importing_datasets_loads_nothing_heavy_before_one_is_converted():
    names = "fetch, fetch_annotation, read_report, Dataset, Finding, Report, Split"
    assert not loaded_by(f"from trainer_hooks.datasets import {names}") & (HEAVY | {"PIL", "cv2", "ray", "yaml"})
    bare, ours = loaded_by(STANDARD), loaded_by("import trainer_hooks.datasets")
    assert ours - bare == {"trainer_hooks"}


def test_the_public_names_of_datasets_are_these():
    assert datasets.__all__ == [
        "Dataset",
        "Finding",
        "Report",
        "Split",
        "convert",
        "fetch",
        "fetch_annotation",
        "read_report",
        "split",
        "validate",
    ]
    assert dir(datasets) == datasets.__all__
    assert all(getattr(datasets, name).__name__ == name for name in datasets.__all__)
    with pytest.raises(AttributeError, match=r"module 'trainer_hooks\.datasets' has no attribute 'covert'"):
        _ = datasets.covert


def test_what_a_training_needs_loads_nothing_heavy():
    assert not loaded_by("from trainer_hooks import autolog, start_run, current_run") & HEAVY


def test_a_run_with_nothing_configured_loads_nothing_heavy(tmp_path):
    code = (
        "import trainer_hooks\n"
        f"with trainer_hooks.start_run(directory={str(tmp_path)!r}, delivery='none') as run:\n"
        "    run.log_metrics({'loss': 0.5}, epoch=1)\n"
    )
    assert not loaded_by(code) & HEAVY


def test_the_error_types_are_those_of_the_platform():
    values = {name: value for name, value in vars(trainer_hooks.ErrorType).items() if name.isupper()}
    assert values == {
        "DATASET_ERROR": "DatasetError",
        "CHECKPOINT_ERROR": "CheckpointError",
        "CONFIG_ERROR": "ConfigError",
        "RESOURCE_ERROR": "ResourceError",
        "NETWORK_ERROR": "NetworkError",
        "FRAMEWORK_ERROR": "FrameworkError",
        "VALIDATION_ERROR": "ValidationError",
        "UNKNOWN_ERROR": "UnknownError",
    }
