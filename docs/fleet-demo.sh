#!/usr/bin/env bash
# Shows a fleet from end to end on one machine: four real devices of three platforms (each with a root file system, a
# network and an sshd of its own; the ARM ones emulated), planned, pulled, looked at, and told of in a page of HTML.
#   docs/fleet-demo.sh              an image of seven architectures, made here and served by polyarch itself
#   REF=alpine docs/fleet-demo.sh   any other image, from its own registry
#   REPORT=FILE.html                where the page shall lie, else .cache/fleet-report.html
set -euo pipefail

if ((EUID != 0)); then
    echo "error: the demo of fleets makes devices with networks, mounts and root users of their own, and only root can" >&2
    echo "hint: sudo make fleet-demo" >&2
    exit 8
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
export PYTHONPATH=$PWD/tests

work=$(mktemp -d "${TMPDIR:-/tmp}/polyarch-fleet-demo.XXXXXX")
lab=$work/lab
server=
clean_up() {
    trap '' INT TERM
    [[ ! -e $lab ]] || python -m support.fleet_lab down "$lab" || true
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
export POLYARCH_ROOT=$work/root
report=${REPORT:-$PWD/.cache/fleet-report.html}

show() {
    printf '\n$ polyarch %s\n' "$*"
    polyarch "$@"
}

echo "Making four devices; the first time, the ARM ones get their root file systems from Debian's packages ..."
inventory=$(python -m support.fleet_lab up "$lab")

ref=${REF:-}
if [[ -z $ref ]]; then
    echo "Making a sample image from Debian's busybox for seven architectures, and serving it ..."
    python -m polyarch.testing.sample_images --cache .cache/busybox "$work/origin/oci" >"$work/names"
    mkfifo "$work/address"
    polyarch --root "$work/origin" serve -q --listen 127.0.0.1:0 >"$work/address" &
    server=$!
    read -r address <"$work/address"
    ref=$address/busybox:1.36
fi

show fleet plan -i "$inventory" "$ref"
show fleet pull -i "$inventory" --batch 1,100% --report "$report" "$ref"
show fleet status -i "$inventory" "$ref"
echo
echo "The report: $report"
