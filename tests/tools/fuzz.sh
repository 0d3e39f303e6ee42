#!/usr/bin/env bash
# fuzz.sh DURATION: runs every fuzz target of the module for that long, one
# after the other. A finding ends it, with the input under testdata/fuzz.
set -euo pipefail
duration=$1
export CGO_ENABLED=0

found=0
while read -r package; do
	# go list names the files; grep finds the targets without building anything.
	directory=$(go list -f '{{.Dir}}' "$package")
	while read -r target; do
		found=$((found + 1))
		echo "fuzz $package $target for $duration"
		if ! out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -parallel 2 "$package" 2>&1); then
			echo "$out"
			exit 1
		fi
		tail -n 1 <<<"$out"
	done < <(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$directory"/*_test.go 2>/dev/null | sed 's/^func //')
done < <(go list ./...)
echo "$found fuzz targets"
((found > 0))
