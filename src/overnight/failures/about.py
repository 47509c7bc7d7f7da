"""What a failure is about: the host, path or module that its message names, so that two runs can be seen to have met
the same. A pure function of class and words; where a path's volume is asked for, whoever has the disk says it."""

import re

HUB = "huggingface.co"
QUOTA = "quota"  # whose room no look at a volume shows
_CHARACTERS = 200

_HOSTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"host='(?P<host>[^']+)', port=(?P<port>\d+)",  # urllib3
        r"\b(?P<scheme>https?|git|ssh|ftp)://(?:[^@/\s'\"]*@)?(?P<host>\[[0-9A-Fa-f:]+\]|[\w.-]+)(?::(?P<port>\d+))?",
        r"(?i)\bconnect(?:ion)? to (?:host |server at |port \d+ of )?[\"']?(?P<host>[\w-]+(?:\.[\w-]+)+)[\"']?"
        r"(?::| port | \(port )?(?P<port>\d+)?",
        r"(?i)\bresolve (?:host(?:name)?:? |address )?[\"']?(?P<host>[\w-]+(?:\.[\w-]+)+)",
        r"(?i)\bhost (?P<host>[\w-]+(?:\.[\w-]+)+)(?::(?P<port>\d+))?",
        r"\b\w+@(?P<host>[\w-]+(?:\.[\w-]+)+)\b",  # ssh
        r"(?P<host>[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|co|ai|cn|edu|gov|dev|cloud))(?::(?P<port>\d+))?\b",
    )
)
_SERVICES = (
    (re.compile(r"(?i)hugging ?face|\bthe Hub\b|gated repo"), HUB),
    (re.compile(r"(?i)botocore|boto3|\baws\b|NoCredentialsError|AccessDenied\b"), "aws"),
    (re.compile(r"(?i)google\.|gcloud|gcsfs"), "google cloud"),
    (re.compile(r"(?i)azure"), "azure"),
    (re.compile(r"(?i)openai"), "openai"),
    (re.compile(r"(?i)kaggle"), "kaggle"),
)
_DEFAULT_PORTS = {"http": "80", "ssh": "22", "git": "9418", "ftp": "21"}

_PLACES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<path>\b(?:gs|s3|hf|https?|abfss?)://[^\s'\"<>,)\]]+)",
        r"(?:No such file or directory|No space left on device|not found|does not exist|quota exceeded)"
        r"(?: \([^)]*\))?:? [\"'`](?P<path>[^\"'`]+)[\"'`]",
        r"[\"'`](?P<path>/[^\"'`]+)[\"'`]",
        r"(?<![\w.])(?P<path>/[^\s'\"`:;,()\[\]]+)",
        r"[Dd]ataset [\"'](?P<path>[^\"']+)[\"']",
        r"(?:cannot (?:stat|open|access)|[Uu]nable to (?:find|open)|can't open file) [\"'`](?P<path>[^\"'`]+)[\"'`]",
    )
)
_HUB_NAME = re.compile(r"[Dd]ataset [\"']")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)*")


def about(name: str, message: str, evidence: str = "") -> str:
    """What a failure of class `name` is about; empty where its words do not say."""
    words = f"{message}\n{evidence}" if evidence and evidence not in message else message
    match name:
        case "network":
            return _host(words)
        case "auth":
            return _host(words) or _service(words) or likeness(message)
        case "data.missing":
            return _place(words)
        case "disk.full":
            place = _place(words)
            return f"{QUOTA} {place}".strip() if "quota" in words.lower() else place
        case "import" | "code" | "config":
            return likeness(message)
    return ""


def likeness(message: str) -> str:
    """A message without what differs from run to run for no reason: its numbers, its spacing."""
    return " ".join(_NUMBER.sub("#", message).split())[:_CHARACTERS]


def _host(words: str) -> str:
    for pattern in _HOSTS:
        found = pattern.search(words)
        if found is None:
            continue
        named = found.groupdict()
        port = named.get("port") or _DEFAULT_PORTS.get(named.get("scheme") or "", "443")
        host = found["host"].rstrip(".").lower()
        return host if port == "443" else f"{host}:{port}"
    return HUB if _SERVICES[0][0].search(words) else ""


def _service(words: str) -> str:
    return next((service for pattern, service in _SERVICES if pattern.search(words)), "")


def _place(words: str) -> str:
    for pattern in _PLACES:
        found = pattern.search(words)
        if found is not None:
            path = found["path"].rstrip(".").rstrip("/") or "/"
            return f"hub://{path}" if _HUB_NAME.match(found[0]) and not path.startswith("/") else path
    return ""
