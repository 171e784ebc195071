"""No secrets out, by name and by value; what only looks like one stays; and anything at all becomes plain."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import itertools
import pathlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_hooks.redact import MASK, Redactor, is_secret_name, known_secrets

SECRET_NAMES = [
    "password", "PASSWORD", "db_password", "PGPASSWORD", "dbpassword", "passwd", "MYSQL_PWD", "passphrase",
    "secret", "client_secret", "clientSecret", "secrets", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN", "api_key", "apikey", "API-KEY", "apiKey", "wandb_api_key", "private_key", "access_key",
    "accesskey", "account_key", "ssh_key", "encryption_key", "signing_key", "auth_token", "authToken", "authtoken",
    "access_token", "api_token", "bearer_token", "refresh_token", "session_token", "hf_token", "HF_TOKEN",
    "GITHUB_TOKEN", "CI_JOB_TOKEN", "TRAINER_HOOKS_TOKEN", "INTERNAL_STORAGE_ACCESS_KEY", "INTERNAL_STORAGE_SECRET_KEY",
    "CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY", "token", "TOKEN", "credentials", "GOOGLE_CREDENTIALS",
    "Authorization", "Proxy-Authorization", "Cookie", "set-cookie",
]  # fmt: skip
LOOKALIKES = [
    "use_cls_token", "cls_token", "num_tokens", "max_tokens", "tokens", "pad_token", "eos_token_id", "tokenizer",
    "tokenizer_name", "keypoints", "keypoint_loss", "key", "keys", "keyboard", "primary_key", "sort_key",
    "num_key_value", "monkey", "author", "authors", "authority", "hotkey", "turkey", "donkey_class", "key_frames",
    "passes", "n_passes", "bypass", "compass", "secretary", "secretion", "cookies_class", "cache_key", "loss_key",
    "metric_key", "access", "account", "api", "session", "TRAINER_HOOKS_TOKEN_FILE", "AWS_SHARED_CREDENTIALS_FILE",
    "SSH_AUTH_SOCK", "OLDPWD", "password_file", "secret_path", "lr0", "epochs", "", "123", "_", "ключ",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_credential_is_masked_by_its_name_whatever_it_holds(name):
    assert is_secret_name(name)
    for value in ("hunter2", b"hunter2", 123456, ["hunter2"], {"user": "hunter2"}, np.array([1, 2])):
        assert Redactor().plain({name: value}) == {name: MASK}
        assert Redactor().plain([{"deep": ({name: value},)}]) == [{"deep": [{name: MASK}]}]
    assert Redactor().plain({name: None}) == {name: None}
    assert Redactor().plain({name: False}) == {name: False}
    assert Redactor().plain({name: ""}) == {name: ""}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_a_credential_stays(name):
    assert not is_secret_name(name)
    assert Redactor().plain({name: "value"}) == {name: "value"}
    assert Redactor().plain({name: 5}) == {name: 5}


def test_what_the_environment_holds_under_a_secret_name_is_masked_wherever_it_stands():
    environ = {
        "DB_PASSWORD": "correct horse",
        "VAULT_TOKEN": "s.Yc8bD",
        "PWD": "/home/someone",
        "HOME": "/home/someone",
        "PIN_SECRET": "1234",
        "TOKENIZERS_PARALLELISM": "false-ish",
        "TRAINER_HOOKS_TOKEN_FILE": "/run/secrets/token",
    }
    redactor = Redactor(known_secrets(environ))
    text = "connect(correct horse) s.Yc8bD 1234 /home/someone false-ish /run/secrets/token"
    assert redactor.text(text) == f"connect({MASK}) {MASK} 1234 /home/someone false-ish /run/secrets/token"
    assert redactor.plain({"note": ["correct horse!"], "correct horse": 1}) == {"note": [f"{MASK}!"], MASK: 1}
    assert redactor.plain(pathlib.Path("/data/correct horse/x")) == f"/data/{MASK}/x"


def test_a_key_or_an_address_in_the_environment_is_known_by_what_it_looks_like():
    environ = {
        "WEATHER_SERVICE_KEY": "a0b1c2d3e4f5a6b7c8",
        "SORT_KEY": "name_of_the_column",
        "DICT_KEY": "words with 1 digit",
        "TLS_KEY": "/etc/ssl/private/key1.pem",
        "DATABASE_URL": "postgresql://ada:correct-horse@db:5432/x?sslmode=require",
        "HTTPS_PROXY": "http://:battery@proxy:3128",
        "REGISTRY": "https://ada@host/x",
    }
    assert sorted(known_secrets(environ)) == ["a0b1c2d3e4f5a6b7c8", "battery", "correct-horse"]


def test_behind_the_name_of_a_secret_stands_one_in_arguments_and_in_pairs():
    plain = Redactor().plain(
        {
            "argv": ["train.py", "--api-key", "hunter2", "--use-cls-token", "1", "--lr=0.1", "0.2", "--token"],
            "headers": [("X-Api-Key", "hunter2"), ("Accept", "json"), ("Authorization", None)],
            "words": ["secret", "safe", "token", "open"],
            "three": ("token", "a", "b"),
        }
    )
    assert plain == {
        "argv": ["train.py", "--api-key", MASK, "--use-cls-token", "1", "--lr=0.1", "0.2", "--token"],
        "headers": [["X-Api-Key", MASK], ["Accept", "json"], ["Authorization", None]],
        "words": ["secret", "safe", "token", "open"],
        "three": ["token", "a", "b"],
    }


def test_what_has_no_end_is_cut_and_says_so():
    plain = Redactor().plain({"list": list(range(3000)), "mapping": {n: n for n in range(3000)}})
    assert (len(plain["list"]), plain["list"][-1]) == (2001, "…")
    assert (len(plain["mapping"]), plain["mapping"]["…"]) == (2001, "the rest is left out")
    assert len(Redactor().words(itertools.count())) == 50_000
    assert len(Redactor().mappings({"a": 1} for _ in itertools.count())) == 50_000
    assert sum(map(len, Redactor().words(["x" * 60_000] * 100))) < 1_100_000


def test_the_longer_of_two_secrets_is_masked_whole():
    assert Redactor(["secret-one", "secret-one-and-more"]).text("secret-one-and-more") == MASK


SECRET_TEXTS = [
    "https://user:hunter2@host/path",
    "postgresql://someone:hunter2@db:5432/name and more",
    "redis://:hunter2@cache:6379/0",
    "https://hunter2:x-oauth-basic@github.com/a/b.git",
    "Authorization: Bearer hunter2hunter2",
    "authorization: Basic hunter2==",
    "{'Authorization': 'Bearer hunter2hunter2'}",
    '{"authorization": "token hunter2"}',
    "curl -H 'Proxy-Authorization: hunter2'",
    "sent bearer hunter2hunter2",
    "https://b.s3.amazonaws.com/k?X-Amz-Credential=hunter2&X-Amz-Date=1",
    "https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=hunter2",
    "https://b.s3.amazonaws.com/k?x-amz-security-token=hunter2&y=1",
    "https://a.blob.core.windows.net/c/b?sv=1&sig=hunter2&se=2",
    "https://storage.googleapis.com/b/k?Expires=1&Signature=hunter2",
    "GET /?access_token=hunter2&page=2",
    "password=hunter2",
    "db_password=hunter2;",
    "dict(host='x', password='hunter2')",
    "{'password': 'hunter2', 'user': 'x'}",
    '{"api_key": "hunter2"}',
    "password: hunter2",
    "aws_secret_access_key = hunter2",
    "AWS_SECRET_ACCESS_KEY=hunter2",
    "--api-key=hunter2",
    "connecting with token=hunter2",
    "train.py --api-key hunter2 --epochs 3",
    "train.py -token hunter2",
    "--db-password   hunter2",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_a_credential_in_a_text_is_masked_by_what_stands_around_it(text):
    redacted = Redactor().text(text)
    assert "hunter2" not in redacted
    assert MASK in redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password='correct horse battery' lr=0.1", f"password='{MASK}' lr=0.1"),
        ('{"password": "correct \\" horse", "lr": 0.1}', f'{{"password": "{MASK}", "lr": 0.1}}'),
        ("{'password': b'correct horse', 'lr': 0.1}", f"{{'password': b'{MASK}', 'lr': 0.1}}"),
        ('password = """correct\nhorse"""\nnext', f'password = """{MASK}"""\nnext'),
        ("password='correct horse\nnext line", f"password='{MASK}\nnext line"),
        ("if token == 'correct horse':", f"if token == '{MASK}':"),
        ("password=Xy&9$kQ2zz lr=0.1", f"password={MASK} lr=0.1"),
        ("--password=se,cret9 --lr 0.1", f"--password={MASK} --lr 0.1"),
        ("--password se;cret)9 --lr 0.1", f"--password {MASK} --lr 0.1"),
        ("--password 'correct horse' --lr 0.1", f"--password '{MASK}' --lr 0.1"),
        ("Cookie: a=b; csrftoken=X\nHost: x", f"Cookie: {MASK}\nHost: x"),
        ("Set-Cookie: a=b; Path=/; HttpOnly\r\nHost: x", f"Set-Cookie: {MASK}\r\nHost: x"),
        ("{'Cookie': 'a=b; c=d', 'Host': 'x'}", f"{{'Cookie': '{MASK}', 'Host': 'x'}}"),
        ('{"pin_secret":1234,"lr":0.1}', f'{{"pin_secret":{MASK},"lr":0.1}}'),
        ("url=http://x/?token=correct,horse&page=2", f"url=http://x/?token={MASK}&page=2"),
        ("note='password=hunter2 lr=0.1'", f"note='password={MASK} lr=0.1'"),
        ("password=abc,token: hunter2 lr=0.1", f"password={MASK} {MASK} lr=0.1"),
        ("password=abc,token='correct horse' lr=0.1", f"password={MASK}' lr=0.1"),
        (
            r'{"body": "{\"password\": \"correct horse\", \"lr\": 1}"}',
            rf'{{"body": "{{\"password\": \"{MASK}\", \"lr\": 1}}"}}',
        ),
        ("password='' lr=0.1", "password='' lr=0.1"),
    ],
)
def test_a_credential_in_a_text_is_masked_to_its_end_and_no_further(text, shown):
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "key",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "sk-abcdefghijklmnopqrstuvwx",
    ],
)
def test_a_key_is_known_by_its_shape(key):
    assert Redactor().text(f"using {key} now") == f"using {MASK} now"


@pytest.mark.parametrize(
    "text",
    [
        "Epoch 3/10: loss=0.25 sig=0.5 keypoint_loss=1.5 tokens=512",
        "s3://bucket/prefix/last.pt",
        "http://host:8080/api/v1/jobs/7",
        "s3://bucket/a@b/c:d",
        "see https://docs.example.org/tokens?page=2#keys",
        'Traceback (most recent call last):\n  File "/x/train.py", line 3, in <module>\n    key = keys[token]',
        "KeyError: 'keypoints'",
        "author: someone, key: value, monkey=business",
        "max_tokens=7, use_cls_token: True, tokenizer='bert'",
        "user@example.org wrote: the bearer of news",
        "train.py --use-cls-token 1 --tokenizer bert --max-tokens 7 --token --key-frames 3",
        "the token is --token",
        "진행률 50% ✅",
        "",
    ],
)
def test_an_ordinary_text_stays_as_it_is(text):
    assert Redactor(["unrelated-secret"]).text(text) == text


def test_a_long_text_is_cut_in_the_middle():
    text = "a" * 50_000 + "b" * 50_000
    cut = Redactor().text(text)
    assert len(cut) < 64_100
    assert cut.startswith("a" * 1000)
    assert cut.endswith("b" * 1000)
    assert "36000 characters left out" in cut
    assert Redactor().text("x" * 700, longest=500).count("x") == 500


@pytest.mark.parametrize("size", [64_010, 66_000, 73_000, 200_000])
def test_no_part_of_a_secret_shows_at_the_cut(size):
    secret = "Xy9-Zq7_Kp3"
    redactor = Redactor([secret])
    for shift in range(len(secret)):
        text = " " * shift + secret * (size // len(secret))
        shown = redactor.text(text)
        assert not set("XyZqKp") & set(shown.replace("characters left out", "")), shift


def test_text_that_is_no_valid_unicode_becomes_valid():
    assert Redactor().text("a\ud800b") == "a\\ud800b"
    msgspec.json.encode(Redactor().plain({"\udcff": "\ud800"}))


class Size(enum.Enum):
    BIG = "big"


class Task(str, enum.Enum):
    DETECT = "detect"


@dataclasses.dataclass
class Config:
    lr: float
    api_key: str
    nested: object = None


def test_a_tensor_becomes_its_number():
    torch = pytest.importorskip("torch")
    assert Redactor().plain({"tensor": torch.tensor(3)}) == {"tensor": 3}


def test_values_become_what_json_can_hold():
    values = {
        "none": None,
        "flag": True,
        "int": 3,
        "huge": 2**64,
        "nan": float("nan"),
        "inf": float("-inf"),
        "path": pathlib.Path("/data/x.yaml"),
        "tuple": (1, "a"),
        "enum": Task.DETECT,
        "array": np.float32(0.5),
        "config": Config(0.1, "hunter2", Config(0.2, "")),
        7: "number as a key",
    }
    assert Redactor().plain(values) == {
        "none": None,
        "flag": True,
        "int": 3,
        "huge": str(2**64),
        "nan": "NaN",
        "inf": "-Infinity",
        "path": "/data/x.yaml",
        "tuple": [1, "a"],
        "enum": "detect",
        "array": 0.5,
        "config": {"lr": 0.1, "api_key": MASK, "nested": {"lr": 0.2, "api_key": "", "nested": None}},
        "7": "number as a key",
    }
    assert Redactor().plain(Size.BIG) == "Size.BIG"
    assert Redactor().plain(argparse.Namespace(a=1)) == "Namespace(a=1)"
    assert Redactor().mapping({"a": {1}}) == {"a": [1]}


def test_what_is_within_itself_comes_to_an_end():
    cyclic: dict[str, object] = {"a": 1}
    cyclic["self"] = [cyclic]
    assert Redactor().plain(cyclic) == {"a": 1, "self": ["…"]}
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert "…" in str(Redactor().plain(deep))


def test_a_value_met_twice_is_told_twice():
    shared = {"lr": 0.1}
    assert Redactor().plain({"a": shared, "b": shared}) == {"a": shared, "b": shared}


def test_the_widest_value_stays_within_bounds():
    wide = {f"key_{n}": ["some text"] * 2000 for n in range(2000)}
    assert len(msgspec.json.encode(Redactor().plain(wide))) < 4_000_000
    long = ["x" * 60_000] * 2000
    assert len(msgspec.json.encode(Redactor().plain(long))) < 2_000_000
    assert len(msgspec.json.encode(Redactor().plain({"k" * 100_000: 1, "array": np.zeros((999, 999))}))) < 100_000


class Awful:
    """Raises whatever is done with it."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __str__(self):
        raise RuntimeError("str")

    __repr__ = __str__

    def __hash__(self):
        return 7


class AwfulMapping(dict):
    def items(self):
        raise RuntimeError("items")


class AwfulPath:
    def __fspath__(self):
        return 5


def test_objects_that_raise_are_named_by_their_type_and_the_rest_is_told():
    values = {"a": Awful(), "b": AwfulMapping(x=1), "c": AwfulPath(), "d": 4, Awful(): 5}
    plain = {"a": "<Awful>", "b": {"x": 1}, "c": "<AwfulPath>", "d": 4, "<Awful>": 5}
    assert Redactor().plain(values) == plain, "what a dict holds can be read without asking its class"


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
    st.complex_numbers(),
    st.decimals(),
    st.dates(),
    st.uuids(),
    st.sampled_from([Awful, AwfulMapping, AwfulPath, object]).flatmap(st.builds),
    st.sampled_from([Size.BIG, Task.DETECT, int, len, ..., Config(1, "x")]),
)
KEYS = st.one_of(st.text(st.characters()), st.integers(), st.none(), st.booleans(), st.dates())
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(KEYS, inner), st.tuples(inner, inner), st.frozensets(st.integers())
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(NESTED)
def test_any_value_becomes_plain_and_never_raises(value):
    plain = Redactor(["some-secret"]).plain(value)
    assert msgspec.json.decode(msgspec.json.encode(plain)) == plain


@settings(deadline=None)
@given(st.text(st.characters()), st.text(st.characters()))
def test_a_known_secret_never_comes_through(before, after):
    secret = "Tr0ub4dor&3"
    assert secret not in Redactor([secret]).text(before + secret + after)


HOSTILE_PIECES = [
    "a", " ", "=", ":", "://", "://a:", "@", "authorization", "authorization ", "bearer ", "Bearer", "token=", "token",
    "password", "password: ", "sk-", "sk", "-", "_", "ghp_", "AKIA", "hf_", "a-", "a.", "x=", "'", '"', "&sig=",
    "?sig=", "--a ", "-a", "--a  ", " -token ", "a_password_", "key\n", "\\", "A1", "secret-secret ",
    "password='", "password='\\", 'token="""', "token=b", "cookie:", "cookie: \n", "?token=", "--token '", "password==",
    'token=\\"', 'token\\":\\\\"',
    "password=x,", "password=x'",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HOSTILE_PIECES)
def test_no_text_makes_the_patterns_run_wild(piece):
    """60 kB of each: a pattern that looks back over it at every place would need hours."""
    many = piece * (60_000 // len(piece))
    for text in (many, f"token {many}", f"://{many}\n"):
        Redactor(["unrelated"]).text(text)
        known_secrets({"ADDRESS": f"{text}@", "A_KEY": text})


@pytest.mark.timeout(60)
def test_names_are_looked_at_in_linear_time():
    for piece in ("a", "A", "aA", "_", "1", "aB1_", "token_"):
        is_secret_name(piece * 50_000)
