# What a fleet wants to know of a device, asked after the probe and with its functions (`has`, `run`, `words`, `first`):
# the engines, in the order in which they are preferred, and what each has at hand. Writes nothing, changes nothing.
# Docker comes before containerd: its hosts have `ctr`, too. Two braces side by side are written nowhere: Ansible would
# take them for a template.
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/snap/bin
two='{'
two=$two'{'

# No engine is waited for longer than this. Old busyboxes have a `timeout` with other words: then nothing is limited here.
seconds=60
limit=
run timeout -s KILL 5 true && limit="run timeout -s KILL $seconds"

user=$(run id -u)
words clock "$(run date +%s)"

# Whether a port of this loopback leads to who asks: there it was told the number of one, and something listens there
# (proc(5): /proc/net/tcp has addresses and ports in hexadecimal, the bytes of an address in the machine's order; 0A is
# LISTEN).
case $port in
*[!0-9]* | '') ;;
*)
    if [ -r /proc/net/tcp ] && has grep; then
        listens=": ([0F]*(0100007F|7F000001)|0*):$(printf %04X "$port") 0*:0000 0A "
        if run cat /proc/net/tcp /proc/net/tcp6 | run grep -E "$listens" >/dev/null; then
            echo "forwarding yes"
        else
            echo "forwarding no"
        fi
    fi
    ;;
esac

# reach COMMAND…: runs it as this user, else by sudo that asks for no password. Sets `said`, `sudo`, or tells why not.
reach() {
    sudo=
    said=$($limit "$@") && return
    if [ $? = 137 ]; then
        echo "refused it does not answer within $seconds seconds"
        return 1
    fi
    if [ "$user" != 0 ] && has sudo; then
        sudo='sudo -n'
        if said=$($limit $sudo "$@"); then
            echo "sudo yes"
            return
        fi
        sudo=
    fi
    printf 'refused %s\n' "$($limit "$@" 2>&1 >/dev/null | run tail -n 1 | run cut -c 1-400)"
    return 1
}
ask() { $limit $sudo "$@"; }
# kept DIR: where the engine keeps images, and the KiB that are free there, or where its first parent is that exists.
kept() {
    at=$1
    words place "$at"
    until table=$(ask df -P -k "$at") || table=$(run df -P -k "$at"); do
        case $at in / | [!/]* | '') break ;; esac
        at=${at%/*}
        at=${at:-/}
    done
    printf '%s\n' "$table" | run sed -n -e '2,$s/.* \([0-9][0-9]*\)  *[0-9-][0-9]*%* .*/free \1/p'
}
# inspected ID MORE COMMAND…: a line an image, in JSON; `ID` is what the engine calls the field, MORE are further ones.
inspected() {
    id=$1 more=$2
    shift 2
    if ! ids=$(ask "$@" image ls --no-trunc --quiet); then
        echo "images unknown"
    elif [ -n "$ids" ]; then
        ask "$@" image inspect --format "image {\"id\":${two}json .$id}},\"names\":${two}json .RepoTags}},\"digests\":${two}json .RepoDigests}},$more\"layers\":${two}json .RootFS.Layers}}}" $(printf '%s\n' $ids | run sort -u) ||
            echo "images unknown"
    fi
}

program=$(command -v docker)
# Debian's podman-docker calls podman so.
case $program in /*) case $($limit "$program" --version) in *podman*) program= ;; esac ;; *) program= ;; esac
if [ -n "$program" ]; then
    echo "engine docker"
    words program "$program"
    if reach "$program" version --format "${two}.Server.Version}}"; then
        words version "$said"
        said=$(ask "$program" info --format "${two}.DockerRootDir}}|${two}.DriverStatus}}")
        case $said in
        *io.containerd.snapshotter*)
            # The images are containerd's: the system's, or the one that dockerd started.
            echo "store containerd"
            place=${said%%|*}/containerd/daemon
            [ -e /run/containerd/containerd.sock ] && place=/var/lib/containerd
            kept "$place"
            ;;
        ?*) kept "${said%%|*}" ;;
        esac
        inspected Id "" "$program"
    fi
fi

program=$(command -v podman)
if [ -n "$program" ]; then
    echo "engine podman"
    words program "$program"
    if reach "$program" info --format "${two}.Version.Version}}|${two}.Store.GraphRoot}}"; then
        words version "${said%%|*}"
        kept "${said#*|}"
        inspected ID "\"manifest\":${two}json .Digest}}," "$program"
    fi
fi

# One containerd: the one that the environment names, a Kubernetes of k3s, the system's.
address=$CONTAINERD_ADDRESS
for socket in /run/k3s/containerd/containerd.sock /run/containerd/containerd.sock; do
    [ -n "$address" ] || [ ! -e $socket ] || address=$socket
done
set --
program=$(command -v k3s)
case $address in /run/k3s/* | '') [ -z "$program" ] || set -- "$program" ctr ;; esac
program=$(command -v ctr)
[ $# != 0 ] || [ -z "$program" ] || set -- "$program"
if [ $# != 0 ]; then
    echo "engine containerd"
    words program "$*"
    # Where its own one is not there either, `ctr` would wait for it.
    [ -n "$address" ] || [ "$*" != "$program" ] || address=/run/containerd/containerd.sock
    if [ -n "$address" ]; then
        words address "$address"
        set -- "$@" --connect-timeout 5s --address "$address"
    fi
    if [ ! -e "${address:-/}" ]; then
        echo "refused there is no socket $address"
    elif reach "$@" namespaces ls --quiet; then
        namespace=default
        for one in $said; do [ "$one" != k8s.io ] || namespace=k8s.io; done
        words namespace $namespace
        set -- "$@" --namespace $namespace
        words version "$(ask "$@" version | run sed -n -e '/^Server/,$s/^ *Version: *//p' | first)"
        place=$(ask "$@" plugins ls --detailed id==content | run sed -n -e 's/^[ 	]*root  *//p' | first)
        kept "${place:-/var/lib/containerd}"
        if said=$(ask "$@" images ls) && blobs=$(ask "$@" content ls --quiet); then
            printf '%s\n' "$said" | run sed -n -e 's/^\([^ ]*\)  *[^ ]*  *\(sha[0-9]*:[0-9a-f]*\) .*/name \1 \2/p'
            [ -z "$blobs" ] || printf 'blob %s\n' $blobs
        else
            echo "images unknown"
        fi
    fi
fi

# A place for an OCI image layout, the one of polyarch itself: needs no engine, only these tools.
if has tar && has sha256sum && has cat; then
    sudo=
    if [ "$user" = 0 ] && [ -z "$XDG_DATA_HOME" ]; then
        place=/var/lib/polyarch/oci
    else
        place=${XDG_DATA_HOME:-$HOME/.local/share}/polyarch/oci
    fi
    echo "engine oci"
    kept "$place"
    if [ ! -w "$at" ]; then
        echo "refused $at cannot be written"
    elif [ -r "$place/index.json" ]; then
        echo "layout yes"
        printf 'index %s\n' "$(run tr -d '\n\r' <"$place/index.json")"
        run ls "$place/blobs/sha256" | run sed -n -e '/^[0-9a-f]\{64\}$/s/^/blob sha256:/p'
    fi
fi
