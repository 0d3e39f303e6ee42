#!/bin/sh
# Writes nginx.conf from nginx.conf.template and the variables that settings.env
# explains, and runs nginx by it:
#
#   render.sh write   writes it into $STATE, with the lists of owners and peers
#   render.sh run     writes it, runs nginx, and has it reload when the addresses of
#                     OWNERS or a certificate change
set -eu

here=$(cd "$(dirname "$0")" && pwd)

: "${STORES:?render.sh: STORES is not set: which stores may be asked, by their Host}"
: "${SCHEME:=https}" "${STORE_CA:=/etc/ssl/certs/ca-certificates.crt}" "${STORE_VERIFY:=on}"
: "${DIR:=/var/cache/weightfs}" "${SIZE:=200g}" "${FREE:=10g}" "${KEYS:=16m}" "${KEEP:=7d}" "${BLOCK:=8m}"
: "${LISTEN:=127.0.0.1:8081}" "${OWNER_LISTEN:=8082}" "${PEERS:=127.0.0.1}" "${OWNERS:=127.0.0.1:8082}"
: "${RENEW:=5}" "${OWNER_TIMEOUT:=4s}" "${TLS:=}" "${TLS_NAME:=weightfs-cache}"
: "${WORKERS:=auto}" "${ACCESS_LOG:=/dev/stdout}" "${STATE:=/run/weightfs-cache}"
if [ -z "${RESOLVER:-}" ]; then
	RESOLVER=$(awk '$1 == "nameserver" { print ($2 ~ /:/ ? "[" $2 "]" : $2); exit }' /etc/resolv.conf)
fi
: "${RESOLVER:=127.0.0.1}"
if [ "$ACCESS_LOG" != off ]; then ACCESS_LOG="$ACCESS_LOG cache"; fi
export STORES SCHEME STORE_CA STORE_VERIFY DIR SIZE FREE KEYS KEEP BLOCK LISTEN OWNER_LISTEN OWNER_TIMEOUT \
	TLS TLS_NAME WORKERS ACCESS_LOG STATE RESOLVER

# write_conf fills the template in.
write_conf() {
	awk '
	function fill(line,  out, name) {
		while (match(line, /@[A-Z_]+@/)) {
			name = substr(line, RSTART + 1, RLENGTH - 2)
			out = out substr(line, 1, RSTART - 1) ENVIRON[name]
			line = substr(line, RSTART + RLENGTH)
		}
		return out line
	}
	/^#tls / { if (ENVIRON["TLS"] == "") next; sub(/^#tls /, "") }
	/^#clear / { if (ENVIRON["TLS"] != "") next; sub(/^#clear /, "") }
	{ print fill($0) }' "$here/nginx.conf.template" >"$STATE/nginx.conf"
	{
		for peer in $(echo "$PEERS" | tr ',' ' '); do echo "allow $peer;"; done
		echo "deny all;"
	} >"$STATE/peers.conf"
}

# owners prints a line for each owner. One that is in a name's addresses stays
# where it is on the ring, whatever becomes of the others.
owners() {
	for owner in $(echo "$OWNERS" | tr ',' ' '); do
		host=${owner%:*} port=${owner##*:}
		case $host in
		\[*\]) echo "$host:$port" ;;
		*[!0-9.]*) getent ahosts "$host" | awk -v port="$port" '{ print ($1 ~ /:/ ? "[" $1 "]" : $1) ":" port }' ;;
		*) echo "$host:$port" ;;
		esac
	done | sort -u | sed 's/.*/server & max_fails=1 fail_timeout=5s;/'
}

# renew writes the list of owners if it has changed, which its exit code says. An
# empty list is no list: the name server failed.
renew() {
	owners >"$STATE/owners.new" 2>/dev/null || true
	if [ ! -s "$STATE/owners.new" ]; then return 1; fi
	if cmp -s "$STATE/owners.new" "$STATE/owners.conf"; then return 1; fi
	mv "$STATE/owners.new" "$STATE/owners.conf"
}

# certificates changes when they do.
certificates() {
	if [ -n "$TLS" ]; then cksum "$TLS/tls.crt" "$TLS/tls.key" "$TLS/ca.crt" 2>/dev/null || true; fi
}

write() {
	mkdir -p "$STATE" "$DIR/temp"
	write_conf
	until renew || [ -s "$STATE/owners.conf" ]; do
		echo "render.sh: OWNERS $OWNERS have no address yet" >&2
		sleep 1
	done
}

run() {
	write
	nginx -e stderr -c "$STATE/nginx.conf" -g 'daemon off;' &
	nginx=$!
	trap 'kill -QUIT "$nginx" 2>/dev/null; wait "$nginx"; exit' TERM INT QUIT
	seen=$(certificates)
	while kill -0 "$nginx" 2>/dev/null; do
		sleep "$RENEW" &
		wait $! || true
		now=$(certificates)
		if renew || [ "$now" != "$seen" ]; then
			seen=$now
			kill -HUP "$nginx"
		fi
	done
	wait "$nginx"
}

case ${1-} in
write | run) "$1" ;;
*)
	echo "usage: render.sh write|run" >&2
	exit 2
	;;
esac
