"""The outside world: `outside.py requests URL [FOLDER]` or `outside.py hub`. HF_ENDPOINT names the hub."""

import sys

if sys.argv[1] == "hub":
    from huggingface_hub import hf_hub_download

    hf_hub_download(sys.argv[2], "model.safetensors")
else:
    import requests

    answer = requests.get(sys.argv[2], timeout=2)
    answer.raise_for_status()
    print(answer.text)
