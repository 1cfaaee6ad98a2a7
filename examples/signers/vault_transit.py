#!/usr/bin/env python3
"""Payload signer over a transit key of HashiCorp Vault or OpenBao.

    signer: "exec:./vault_transit.py ota"        # an RSA key of the transit engine

Asks $VAULT_ADDR with the token in $VAULT_TOKEN.
"""

import base64
import json
import os
import sys
import urllib.request
from pathlib import Path

name, _, source, _, target = sys.argv[1:]
asked = {
    "input": base64.b64encode(Path(source).read_bytes()).decode(),
    "prehashed": True,
    "signature_algorithm": "pkcs1v15",
    "marshaling_algorithm": "asn1",
}
request = urllib.request.Request(
    f"{os.environ['VAULT_ADDR']}/v1/transit/sign/{name}/sha2-256",
    json.dumps(asked).encode(),
    {"X-Vault-Token": os.environ["VAULT_TOKEN"], "Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=30) as answer:
    signature = json.load(answer)["data"]["signature"]
Path(target).write_bytes(base64.b64decode(signature.rpartition(":")[2]))
