#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# One would guess: on a machine without a TPM, OVMF finds none at once, and boots as fast as its code runs.
# What happens (QEMU 7.2, OVMF 2022.11, 2026-11-29, TCG): half of the time until OVMF writes to its console goes by in waits for a TPM.
# QEMU answers reads of an address where no device is with zeros. OVMF takes zeros in the access register of a TPM's locality at
# 0xfed40000 for a TPM that has not granted it yet, and waits for its full time-out, twice. On a PC such a read returns ones, which
# say that nothing is there. The control: the same firmware in a file that is padded downwards, as -bios maps it at the end of 4 GiB, so
# that 0xfed40000 holds ones; nothing else is changed.
# Exit status: 0 as described, 1 otherwise, 2 if a package cannot be had.
set -euo pipefail
packages='qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3 ovmf=2022.11-6+deb12u2'
tpm=$((0xfed40000)) page=4096
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The whole closure, as if nothing were installed: this system's own libraries take no part.
mkdir -p "$work/archives/partial" "$work/root"
touch "$work/status"
apt() {
	apt-get -qq -o Dir::State::status="$work/status" -o Dir::Cache::archives="$work/archives" -o APT::Sandbox::User=root "$@"
}
# shellcheck disable=SC2086
apt --yes --no-install-recommends --download-only install $packages >"$work/apt.log" 2>&1 || {
	tail -n 1 "$work/apt.log" >&2
	exit 2
}
for package in "$work"/archives/*.deb; do
	dpkg-deb -x "$package" "$work/root"
done
libraries=$work/root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$libraries/qemu
qemu=("$work/root/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$work/root/lib/x86_64-linux-gnu:$libraries/pulseaudio"
	"$work/root/usr/bin/qemu-system-x86_64" -L "$work/root/usr/share/qemu" -L "$work/root/usr/share/seabios")
"${qemu[@]}" --version | head -n 1
echo "$packages"

plain=$work/root/usr/share/ovmf/OVMF.fd
padded=$work/padded.fd
size=$(stat -c %s "$plain")
head -c $page /dev/zero | tr '\0' '\377' >"$padded"
truncate -s $(((1 << 32) - tpm - size)) "$padded"
cat "$plain" >>"$padded"

# Milliseconds from the start to the first byte on the serial console.
boot() {
	rm -f "$work/console"
	mkfifo "$work/console"
	begin=$(date +%s%N)
	timeout 60 "${qemu[@]}" -nodefaults -no-user-config -display none -machine q35 -m 256M -accel tcg \
		-serial "file:$work/console" -bios "$1" >/dev/null 2>&1 &
	head -c 1 "$work/console" >/dev/null
	echo $((($(date +%s%N) - begin) / 1000000))
	kill $! 2>/dev/null || true
	wait $! 2>/dev/null || true
}
median() {
	printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"
}
with=() without=()
for _ in 1 2 3; do
	with+=("$(boot "$plain")")
	without+=("$(boot "$padded")")
done
zeros=$(median "${with[@]}") ones=$(median "${without[@]}")
echo "first byte on the console: $zeros ms where a TPM's registers read as zeros, $ones ms where they read as ones"
[ $((zeros * 10)) -gt $((ones * 14)) ]
