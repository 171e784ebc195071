"""What is fetched is never unpickled or run: where Python's or torch's own ways to do so are called at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "trainer_hooks"
RUNNING = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load"),
    *("cloudpickle.load", "cloudpickle.loads", "joblib.load", "torch.load", "torch.jit.load", "eval", "exec"),
    *("numpy.load", "np.load", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
}
KNOWN = {
    # A training that goes on from its checkpoint: the host loads the same file in the same way right after.
    ("integrations/ultralytics/resume.py", "torch.load"),
    ("yaml_texts.py", "yaml.load"),  # with the safe loader, and the C one where there is one: ruff's S506 holds that
    ("endings.py", "exec"),  # a text of its own
}


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        if isinstance(node, ast.ImportFrom):  # so that none is called by its bare name
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_nothing_is_unpickled_but_the_checkpoint_that_a_training_goes_on_from() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), call)
        for path in PACKAGE.rglob("*.py")
        for call in calls(ast.parse(path.read_bytes()))
        if call in RUNNING
    }
    assert found == KNOWN
