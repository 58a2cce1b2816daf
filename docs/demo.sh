#!/usr/bin/env bash
# Shows the main job from end to end: resolve, pull, run natively and under QEMU, and a variant found by its tag.
#   docs/demo.sh            an image of seven architectures, made here and served by polyarch itself
#   REF=alpine docs/demo.sh any other image, from its own registry
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH

work=$(mktemp -d "${TMPDIR:-/tmp}/polyarch-demo.XXXXXX")
server=
clean_up() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
export POLYARCH_ROOT=$work/root

show() {
    printf '\n$ polyarch %s\n' "$*"
    polyarch "$@"
}

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

show resolve "$ref"
show pull "$ref"
show run --rm "$ref" uname -m
for platform in linux/arm64 linux/arm/v7 linux/s390x; do
    show run --rm --platform "$platform" "$ref" uname -m
done
if [[ -n $server ]]; then
    echo
    echo "There is no tagged:1.0, but there is tagged:1.0-arm64v8:"
    show pull --platform linux/arm64 "$address/tagged:1.0"
fi
show image ls
