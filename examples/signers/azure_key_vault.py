#!/usr/bin/env python3
"""Payload signer over an RSA key of Azure Key Vault or Managed HSM.

    signer: "exec:./azure_key_vault.py https://VAULT.vault.azure.net/keys/ota/VERSION"

The access token is that of the Azure CLI: in a CI, of workload identity federation. EC keys need one
step more: Azure returns r and s in a row, where a payload has them in DER.
"""

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

key, _, source, _, target = sys.argv[1:]
scope = "https://managedhsm.azure.net" if ".managedhsm." in key else "https://vault.azure.net"
token = subprocess.run(
    [
        "az",
        "account",
        "get-access-token",
        "--resource",
        scope,
        "--query",
        "accessToken",
        "-o",
        "tsv",
    ],
    check=True,
    capture_output=True,
    text=True,
).stdout.strip()
digest = base64.urlsafe_b64encode(Path(source).read_bytes()).decode().rstrip("=")
request = urllib.request.Request(
    f"{key}/sign?api-version=7.4",
    json.dumps({"alg": "RS256", "value": digest}).encode(),
    {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=30) as answer:
    value = json.load(answer)["value"]
Path(target).write_bytes(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
