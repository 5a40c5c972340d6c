#!/usr/bin/env bash
# A proxy's address may name a user without a password, http://me@proxy: RFC 7617 allows an empty one, and
# curl sends it. Node's fetch sends no Proxy-Authorization for it at all, so that a proxy that knows its
# clients by their user alone never learns of this one.
#
#   undici 7.30.2, ProxyAgent at http://me@127.0.0.1 and http://me:any@127.0.0.1:
#       the first CONNECT has no Proxy-Authorization, the second has
#
# Seen on 2026-11-30. Nothing fails: the request is simply nobody's. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >ask.mjs <<'JS'
import { once } from "node:events";
import { createServer } from "node:http";
import { ProxyAgent, fetch } from "undici";
const told = [];
const proxy = createServer();
proxy.on("connect", (request, socket) => {
  told.push(request.headers["proxy-authorization"]);
  socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
});
proxy.listen(0, "127.0.0.1");
await once(proxy, "listening");
for (const user of ["me", "me:any"]) {
  const dispatcher = new ProxyAgent(`http://${user}@127.0.0.1:${proxy.address().port}`);
  await fetch("https://example.invalid/", { dispatcher }).catch(() => {});
  await dispatcher.close();
}
proxy.close();
console.log(`without a password: ${told[0]}; with one: ${told[1]}`);
process.exit(told.length === 2 && told[0] === undefined && told[1] !== undefined ? 0 : 1);
JS
npm install --silent --no-audit --no-fund undici@7.30.2 >/dev/null
node ask.mjs
