"""Writes certificates.json of this folder, a minute or more for each norm: python docs/norms/certify.py [NAME ...]."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.files import write_atomically

FILE = Path(__file__).parent / "certificates.json"


def main() -> None:
    """Certify the norms that are named, or all, and keep what was found of the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("name", nargs="*", choices=[*norm_layers(), []], help="norm layers (all)")
    names = parser.parse_args().name or [*norm_layers()]
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name in names:
        known[name] = told(str(certify(name)))
        kept = {each: known[each] for each in norm_layers() if each in known}
        write_atomically(FILE, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
        print(name, known[name].splitlines()[-1])


def told(certificate: str) -> str:
    """Return a certificate without how long it took."""
    return re.sub(r" in [\d.]+ s$", "", certificate)


if __name__ == "__main__":
    main()
