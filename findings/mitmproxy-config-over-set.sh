#!/usr/bin/env bash
# Of mitmproxy's own flags (--listen-port 0) the command line wins over config.yaml, as with most programs.
# Of --set it does not: the same option, also of an addon, keeps what the file says, without a word.
#
#   mitmproxy 12.3.1, config.yaml with listen_port: 18999, validate_inbound_headers: false, mine: file
#       --listen-port 0                         listen_port=0
#       --set validate_inbound_headers=true     validate_inbound_headers=False
#       --set mine=line (of an addon)           mine=file
#
# Seen on 2026-11-30. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv" # of Python 3.12 or newer
cd "$place"

venv/bin/pip install --quiet --disable-pip-version-check mitmproxy==12.3.1
cat >tell.py <<'PY'
from mitmproxy import ctx


class Tell:
    def load(self, loader):
        loader.add_option("mine", str, "default", "An option of an addon.")

    def running(self):
        names = ("listen_port", "validate_inbound_headers", "mine")
        print(*(f"{name}={getattr(ctx.options, name)}" for name in names), flush=True)
        ctx.master.shutdown()


addons = [Tell()]
PY
mkdir conf
printf 'listen_port: 18999\nvalidate_inbound_headers: false\nmine: file\n' >conf/config.yaml
told=$(HOME=$place venv/bin/mitmdump -q -s tell.py --set confdir="$place/conf" --listen-host 127.0.0.1 \
    --listen-port 0 --set validate_inbound_headers=true --set mine=line)
echo "$told"
[ "$told" = "listen_port=0 validate_inbound_headers=False mine=file" ]
