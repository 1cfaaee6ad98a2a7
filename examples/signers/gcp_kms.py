#!/usr/bin/env python3
"""Payload signer over a key of Google Cloud KMS.

    signer: "exec:./gcp_kms.py projects/P/locations/L/keyRings/R/cryptoKeys/ota/cryptoKeyVersions/1"

The key's algorithm is RSA_SIGN_PKCS1_4096_SHA256 or EC_SIGN_P256_SHA256. The access token is gcloud's:
in a CI, that of workload identity federation.
"""

import base64
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

version, _, source, _, target = sys.argv[1:]
server = os.environ.get(
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", "https://cloudkms.googleapis.com/"
)
token = subprocess.run(
    ["gcloud", "auth", "print-access-token"], check=True, capture_output=True, text=True
).stdout.strip()
digest = base64.b64encode(Path(source).read_bytes()).decode()
request = urllib.request.Request(
    f"{server.rstrip('/')}/v1/{version}:asymmetricSign",
    json.dumps({"digest": {"sha256": digest}}).encode(),
    {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=30) as answer:
    Path(target).write_bytes(base64.b64decode(json.load(answer)["signature"]))
