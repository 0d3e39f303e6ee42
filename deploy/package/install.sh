#!/usr/bin/env bash
# Puts weightfs into a tree, or takes it out again.
#
#   install.sh stage        put it there: what a package or a tarball is made of
#   install.sh install      and note what was put there, below PREFIX/share/weightfs
#   install.sh uninstall    take out what install noted; the configuration stays
#
# Variables: DESTDIR is in front of every path; PREFIX (/usr/local) has the rest
# but for /etc/weightfs and the links that mount(8) looks for, in HELPERDIR (/sbin).
# BIN has the programs, SHARE what pages.sh wrote. ZSHDIR is where zsh looks.
set -euo pipefail
umask 022
export LC_ALL=C # for sort and comm
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${DESTDIR=}" "${PREFIX:=/usr/local}" "${HELPERDIR:=/sbin}" "${BIN:=bin}" "${SHARE:=bin/share}"
: "${ZSHDIR:=$PREFIX/share/zsh/site-functions}"
doc=$PREFIX/share/doc/weightfs
notes=$PREFIX/share/weightfs/installed
put=() # the paths that were put there, without DESTDIR

place() { # MODE FILE PATH
	install -D -m "$1" "$2" "$DESTDIR$3"
	put+=("$3")
}

# unit places a systemd unit that starts the mountd of this prefix.
unit() { # FILE PATH
	local text
	text=$(sed "s#/usr/local/bin/mountd#$PREFIX/bin/mountd#g" "$1")
	place 644 /dev/stdin "$2" <<<"$text"
}

# helper places a link by which mount(8) finds mountd. Below PREFIX it is relative,
# as packages have it.
helper() { # NAME
	local link=$HELPERDIR/$1 target=$PREFIX/bin/mountd
	if [[ $HELPERDIR == "$PREFIX"/* ]]; then target=$(realpath -ms --relative-to="$HELPERDIR" "$target"); fi
	mkdir -p "$DESTDIR$HELPERDIR"
	ln -sfn "$target" "$DESTDIR$link"
	put+=("$link")
}

stage() {
	local file program
	for program in mountd gpuload; do
		if [[ ! -x $BIN/$program ]]; then
			echo "$BIN/$program is not there: run make first" >&2
			exit 1
		fi
	done
	for program in mountd gpuload gpuload-cuda; do
		if [[ -x $BIN/$program ]]; then place 755 "$BIN/$program" "$PREFIX/bin/$program"; fi
	done
	helper mount.weightfs
	helper mount.fuse.weightfs # for a change of a mount, which it refuses
	for file in deploy/systemd/weightfs*; do unit "$file" "$PREFIX/lib/systemd/system/${file##*/}"; done
	for file in "$SHARE"/man/*/*; do place 644 "$file" "$PREFIX/share${file#"$SHARE"}"; done
	for program in mountd gpuload; do
		file=$SHARE/completions/$program
		place 644 "$file.bash" "$PREFIX/share/bash-completion/completions/$program"
		place 644 "$file.zsh" "$ZSHDIR/_$program"
		place 644 "$file.fish" "$PREFIX/share/fish/vendor_completions.d/$program.fish"
	done
	for file in README.md CHANGELOG.md LICENSE; do place 644 "$file" "$doc/$file"; done
	for file in deploy/fstab deploy/aws/* deploy/monitoring/*; do place 644 "$file" "$doc/examples/${file##*/}"; done
	mkdir -p "$DESTDIR/etc/weightfs"
}

# take removes those of the paths on stdin that are not among its arguments.
take() {
	local path
	comm -23 <(sort) <(printf '%s\n' "$@" | sort) | while IFS= read -r path; do rm -f "$DESTDIR$path"; done
}

case ${1-} in
stage) stage ;;
install)
	stage
	if [[ -e $DESTDIR$notes ]]; then take "${put[@]}" <"$DESTDIR$notes"; fi # of an earlier version
	mkdir -p "$DESTDIR${notes%/*}"
	printf '%s\n' "${put[@]}" >"$DESTDIR$notes"
	;;
uninstall)
	if [[ ! -e $DESTDIR$notes ]]; then
		echo "$DESTDIR$notes is not there: nothing was installed with this DESTDIR and PREFIX" >&2
		exit 1
	fi
	take "" <"$DESTDIR$notes"
	rm "$DESTDIR$notes"
	for dir in "${notes%/*}" "$doc/examples" "$doc" /etc/weightfs; do
		if [[ -d $DESTDIR$dir ]]; then rmdir --ignore-fail-on-non-empty "$DESTDIR$dir"; fi
	done
	;;
*)
	echo "usage: install.sh stage|install|uninstall" >&2
	exit 2
	;;
esac
