#!/bin/sh
# Reads a file of SIZE bytes by N processes of dd at once, each one part of it:
# dd.sh N BLOCK SIZE FILE. With COMPARE=COPY each compares its part with COPY's.
set -eu
n=$1 block=$2 part=$((($3 + $1 - 1) / $1)) file=$4

part() {
	skip=$(($1 * part))
	set -- if="$file" bs="$block" iflag=skip_bytes,count_bytes skip=$skip count=$part status=none
	if [ -z "${COMPARE-}" ]; then exec dd "$@" of=/dev/null; fi
	dd "$@" | cmp -n $part -i 0:$skip - "$COMPARE"
}

all=
for i in $(seq 0 $((n - 1))); do
	part "$i" &
	all="$all $!"
done
for pid in $all; do wait "$pid"; done
