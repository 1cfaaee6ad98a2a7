#!/usr/bin/env python3
"""Payload signer over an RSA key of gpg-agent, an OpenPGP card included.

signer: "exec:./gpg_agent.py KEYGRIP"        # gpg --list-secret-keys --with-keygrip
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

keygrip, _, source, _, target = sys.argv[1:]
digest = Path(source).read_bytes().hex().upper()
commands = [f"SIGKEY {keygrip}", f"SETHASH --hash=sha256 {digest}", "PKSIGN", "/bye"]
answer = subprocess.run(["gpg-connect-agent", *commands], check=True, capture_output=True).stdout
lines = answer.split(b"\n")
if failed := [line.decode(errors="replace") for line in lines if line.startswith(b"ERR")]:
    sys.exit(failed[0])
# (7:sig-val(3:rsa(1:s256:...))), percent-escaped, in as many "D " lines as it takes.
data = unquote_to_bytes(b"".join(line[2:] for line in lines if line.startswith(b"D ")))
found = re.search(rb"\(1:s(\d+):", data)
if found is None:
    sys.exit("gpg-agent returned no RSA signature")
signature = data[found.end() : found.end() + int(found[1])]
Path(target).write_bytes(signature)
