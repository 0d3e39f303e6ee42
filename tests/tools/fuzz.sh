#!/usr/bin/env bash
# fuzz.sh DURATION [RECORD]: runs every fuzz target of the module for that long,
# one after the other, and writes what each has done to RECORD (bin/fuzz.txt) too.
# A finding ends it, with the input under testdata/fuzz.
set -euo pipefail
duration=$1
record=${2:-bin/fuzz.txt}
export CGO_ENABLED=0

mkdir -p "$(dirname "$record")"
say() { printf '%-52s %12s %8s %8s %9s\n' "$@" | tee -a "$record"; }
: >"$record"
say "$(date -u +%F), $duration for each target" executions new inputs seconds

# The end of its time can reach the fuzzing engine of Go before 1.27 as a failure
# (go.dev/issue/75804). That prints this line alone; whatever a target finds has its
# place in the source or the input that was written.
clock_ran_out() {
	[[ $1 != *'Failing input written to'* ]] &&
		[[ $(sed -n '/^--- FAIL: /,/^FAIL$/p' <<<"$1" | sed '1d;$d') == '    context deadline exceeded' ]]
}

found=0
while read -r package; do
	# go list names the files; grep finds the targets without building anything.
	directory=$(go list -f '{{.Dir}}' "$package")
	while read -r target; do
		found=$((found + 1))
		start=$SECONDS
		# Making one input smaller takes a minute by default, in which nothing else
		# is tried: a target came to 3,000 executions where it had 100,000.
		if ! out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 100x -parallel 2 "$package" 2>&1) && ! clock_ran_out "$out"; then
			echo "$package $target: FOUND" | tee -a "$record"
			echo "$out"
			exit 1
		fi
		# fuzz: elapsed: 3s, execs: 15111 (5036/sec), new interesting: 15 (total: 40)
		last=$(sed -nE 's|^fuzz: elapsed.* execs: ([0-9]+) .*interesting: ([0-9]+) \(total: ([0-9]+)\)$|\1 \2 \3|p' <<<"$out" | tail -n 1)
		# Nothing of it in a time that was too short for the corpus.
		read -r executions new inputs <<<"${last:-0 0 -}"
		say "${package#*/} $target" "$executions" "$new" "$inputs" "$((SECONDS - start))"
	done < <(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$directory"/*_test.go 2>/dev/null | sed 's/^func //')
done < <(go list ./...)
echo "$found fuzz targets"
((found > 0))
