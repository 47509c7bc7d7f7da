"""What a failure is about: two runs met the same only if the same name comes out of different words."""

import pytest

from overnight.failures import Outcome, classify
from overnight.failures.about import about, likeness
from overnight.failures.rules import RULES_DIR, read_examples, read_rules
from overnight.model.classes import CLASSES


@pytest.mark.parametrize(
    ("message", "host"),
    [
        ("HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /api", "huggingface.co"),
        ("HTTPConnectionPool(host='mirror.lan', port=8080): Read timed out.", "mirror.lan:8080"),
        ("503 Server Error: Service Unavailable for url: https://huggingface.co/api/models/x", "huggingface.co"),
        ("fatal: unable to access 'https://github.com/a/b/': Could not resolve host: github.com", "github.com"),
        ("curl: (7) Failed to connect to data.example.org port 443 after 3 ms", "data.example.org"),
        ("Cannot connect to host s3.eu-west-1.amazonaws.com:443 ssl:default", "s3.eu-west-1.amazonaws.com"),
        ("ssh: connect to host login.cluster.edu port 22: Connection timed out", "login.cluster.edu:22"),
        ("OSError: We could not reach the Hub, check your internet connection", "huggingface.co"),
        ("http://10.0.0.7:9000/bucket: connection refused", "10.0.0.7:9000"),
        ("ConnectionResetError: [Errno 104] Connection reset by peer", ""),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", ""),
    ],
)
def test_an_outage_is_about_its_host(message: str, host: str) -> None:
    """Resets by three different peers, none of them named, are nothing in common."""
    assert about("network", message) == host


@pytest.mark.parametrize(
    ("message", "service"),
    [
        ("401 Client Error: Unauthorized for url: https://huggingface.co/meta/x", "huggingface.co"),
        ("OSError: You are trying to access a gated repo.", "huggingface.co"),
        ("git@github.com: Permission denied (publickey).", "github.com"),
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", "aws"),
        ("openai.AuthenticationError: Error code: 401 - Incorrect API key provided", "openai"),
        ("urllib.error.HTTPError: HTTP Error 403: Forbidden", "urllib.error.HTTPError: HTTP Error #: Forbidden"),
    ],
)
def test_a_refusal_is_about_whoever_refused(message: str, service: str) -> None:
    """One token, refused in other words for each model, was taken for as many causes as there were models."""
    assert about("auth", message) == service


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: '/data/imagenet/train'", "/data/imagenet/train"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'data/shard-0.bin'", "data/shard-0.bin"),
        ("cp: cannot stat '/data/x.tar': No such file or directory", "/data/x.tar"),
        ("RuntimeError: Found 0 images in subfolders of: /data/train/", "/data/train"),
        ("ValueError: Failed to find any matching files for gs://bucket/model.ckpt", "gs://bucket/model.ckpt"),
        ("DatasetNotFoundError: Dataset 'foo/bar' doesn't exist on the Hub or cannot be accessed.", "hub://foo/bar"),
        ("ValueError: num_samples should be a positive integer value, but got num_samples=0", ""),
    ],
)
def test_missing_data_are_about_their_path(message: str, path: str) -> None:
    """Empty data of three different configurations are three mistakes, not one."""
    assert about("data.missing", message) == path


def test_a_full_disk_is_about_its_path_and_a_quota_says_so() -> None:
    """No look at the volume's free bytes shows that a quota has room again."""
    assert (
        about("disk.full", "no space left: [Errno 28] No space left on device: '/scratch/ckpt.pt'")
        == "/scratch/ckpt.pt"
    )
    assert about("disk.full", "no space left: [Errno 122] Disk quota exceeded: '/home/a/x'") == "quota /home/a/x"
    assert about("disk.full", "[Errno 28] No space left on device") == ""


def test_an_import_is_about_its_words() -> None:
    """The same module, asked for at another address of the library, is the same module."""
    first, second = (f"ImportError: /x/f.so: undefined symbol at 0x{n:x}" for n in (4711, 815))
    assert about("import", first) == about("import", second) != about("import", "No module named 'y'")


def test_likeness_leaves_numbers_out_and_nothing_else() -> None:
    """`lr 0.1` and `lr 0.2` failed alike; a KeyError of another key did not."""
    assert likeness("step 7:  loss 0.3 at\n0xfe") == "step #: loss # at #"
    assert likeness("KeyError: 'a'") != likeness("KeyError: 'b'")
    assert len(likeness("x" * 10_000)) <= 200


def test_every_example_of_a_shareable_class_is_about_something_or_nothing_at_all() -> None:
    """A subject with a line break or a kilobyte in it would stand in every status for the night."""
    for path in sorted(RULES_DIR.glob("*.toml")):
        examples = read_examples(path)
        for rule in read_rules(path):
            if not CLASSES[rule.cls].shareable:
                continue
            for log in examples[rule.name].match:
                found = classify(log.encode(), Outcome(exit_code=1))
                assert "\n" not in found.about and len(found.about) <= 300, (rule.name, found.about)
