"""Says of each request whether the official library accepts it: `python verify.py cases.json`."""

import base64
import json
import sys

from standardwebhooks import Webhook

with open(sys.argv[1], encoding="utf-8") as cases:
    for case in json.load(cases):
        try:
            Webhook(case["secret"]).verify(base64.b64decode(case["body"]), case["headers"])
            print("accepted")
        except Exception:  # the library has several, and any of them is a refusal
            print("refused")
