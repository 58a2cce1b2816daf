# Brings images to the device that this runs on: by digest, under a temporary name, compared, then under the asked name.
# POSIX sh (dash, bash, busybox ash). What it is to do stands in the variables pull_…, and `port`: see device_pull.py,
# which also says what is printed. Two braces side by side are written nowhere: Ansible would take them for a template.
LC_ALL=C
PATH=${PATH:-/bin}:/usr/local/bin:/usr/local/sbin:/usr/bin:/bin:/usr/sbin:/sbin:/snap/bin
export LC_ALL PATH
unset IFS
if [ -w /dev/null ]; then exec 2>/dev/null; else exec 2</; fi
two='{'
two=$two'{'
mine='' place='' work='' watcher='' took='' bad=''

# This may run in a part of a shell, whose number `$$` is not.
me=''
read -r me line </proc/self/stat
me=${me:-$$}

# Questions to an engine are waited for no longer than this; a pull has the time of the whole.
limit=
timeout -s KILL 5 true && limit='timeout -s KILL 60'
eval "engine() { $pull_engine \"\$@\"; }"
eval "ask() { \$limit $pull_engine \"\$@\" </dev/null; }"

# stat_of PID: sets `parent`, `session` and `since` (in the kernel's ticks), or fails: there is no such process to be seen.
# Of itself a process is not asked: QEMU's user mode makes such answers up.
stat_of() {
    parent='' session='' since='' line=''
    read -r line <"/proc/$1/stat" || [ -n "$line" ] || return
    line=${line##*) }
    set -- $line
    parent=$2 session=$4 since=${20}
}
uptime() {
    now=
    read -r now line </proc/uptime
    now=${now%%.*}
}

# What is between this and the connection: the links from child to parent up to the first process of another session, which
# is sshd's (setsid(2)), or whoever stands for it. A shell in between outlives it.
above() {
    stat_of "$me" || return
    ours=$session child=$me
    while [ "${parent:-0}" -gt 1 ]; do
        echo "$child:$parent"
        child=$parent
        stat_of "$child" && [ "$session" = "$ours" ] || return
    done
}
alone() {
    for link in $links; do
        stat_of "${link%:*}" && [ "$parent" = "${link#*:}" ] || return 0
    done
    return 1
}
# end_below SIGNAL: to all that this script has started, but the watch.
end_below() {
    read -r self line </proc/self/stat
    table=
    for file in /proc/[0-9]*/stat; do
        line=
        read -r line <"$file"
        pid=${line%% *} line=${line##*) }
        line=${line#* }
        [ "$pid" = "$self" ] || table="$table $pid:${line%% *}"
    done
    found=" $me " more=yes
    while [ -n "$more" ]; do
        more=
        for pair in $table; do
            case $found in
            *" ${pair%:*} "*) ;;
            *" ${pair#*:} "*) found="$found${pair%:*} " more=yes ;;
            esac
        done
    done
    found=${found#" $me "}
    send "$1" $found
}
send() {
    [ $# = 1 ] || kill -s "$@" || case $pull_engine in sudo*) sudo -n kill -s "$@" ;; esac
}
# The watch: when the time is over, or whoever started this is gone, it ends what runs; then `ended` puts things in order.
watch() {
    uptime
    end=$((${now:-0} + pull_limit)) count=0
    while sleep 1; do
        count=$((count + 1))
        stat_of "$me" || exit
        uptime
        if alone; then
            signal=TERM
        elif [ "${now:-$count}" -ge "$end" ]; then
            signal=USR1
        else
            continue
        fi
        # Stopped, it cannot begin with anything while what it waits for is ended.
        kill -s STOP "$me"
        end_below TERM
        asked=$found
        kill -s "$signal" "$me"
        kill -s CONT "$me"
        count=0
        while stat_of "$me"; do
            sleep 1
            count=$((count + 1))
            [ "$count" != 5 ] || send KILL $asked
            if [ "$count" -ge 150 ]; then
                end_below KILL
                kill -s KILL "$me"
                rm -f "$lock"
            fi
        done
        exit
    done
}

# The lock: a symbolic link, which is made in one step with what it says: PID, its start, who, since when.
lock=${TMPDIR:-/tmp}/polyarch-fleet.lock
take() {
    mine="$me $(stat_of "$me"; echo "${since:-0}") $pull_holder since $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    tries=3
    while [ $tries -gt 0 ]; do
        fault=$(ln -s "$mine" "$lock" 2>&1)
        said=$(readlink "$lock")
        if [ -z "$said" ]; then
            echo "refused ${fault:-no lock can be made: $lock}"
            return 1
        fi
        if [ "$said" = "$mine" ]; then
            took=yes
            return
        fi
        pid=${said%% *} rest=${said#* }
        if stat_of "${pid:-0}" && [ "$since" = "${rest%% *}" ]; then
            # An attempt of this very rollout whose connection broke: its watch ends it, and it puts things in order.
            case ${rest#* } in "$pull_holder since "*) sleep 1 && continue ;; esac
            break
        fi
        tries=$((tries - 1))
        # Its process is gone. What is moved away here may already be another's: then it goes back.
        if mv "$lock" "$lock.$me"; then
            [ "$(readlink "$lock.$me")" = "$said" ] || mv "$lock.$me" "$lock"
            rm -f "$lock.$me"
        fi
    done
    rest=${said#* }
    echo "held ${rest#* }"
    return 1
}

# tell NUMBER WORDS: why an image failed, the last lines of what was said.
tell() {
    bad=yes
    echo "image $1 failed"
    printf '%s\n' "$2" | sed -e '/^[[:space:]]*$/d' | tail -n 3 | cut -c 1-500 | sed -e "s/^/error $1 /"
}
differs() {
    bad=yes
    echo "image $1 differs $2"
}

# What each engine calls things. `told NAME`: the digest by which an image is compared. `names`: those that were given
# here, or by another that was killed, and never went. `untie NAME TEMPORARY`: NAME stays. `drop TEMPORARY`: nothing else has it.
ours='127\.0\.0\.1:[0-9]*/polyarch/[0-9a-f]\{32\}[^ ]*'
case $pull_kind in
docker)
    told() { ask image inspect --format "${two}.Id}}" "$1"; }
    bring() { engine pull -q "$1" </dev/null; }
    load() { engine load -q; }
    tie() { ask tag "$1" "$2"; }
    drop() { ask rmi "$1"; }
    untie() { drop "$2"; }
    names() {
        ask image ls --digests --format "${two}.Repository}} ${two}.Tag}} ${two}.Digest}}" |
            sed -n -e "s|^\($ours\) <none> \(sha.*\)|\1@\2|p" -e t -e "s|^\($ours\) \([^ ]*\) .*|\1:\2|p"
    }
    ;;
podman)
    told() {
        said=$(ask image inspect --format "${two}.Id}}" "$1") || return
        echo "sha256:${said#sha256:}"
    }
    plain=--tls-verify=false
    [ "$pull_how" = tunnel ] || plain=
    work=${TMPDIR:-/var/tmp}/polyarch-fleet.parts
    # What podman has in the air lies here, so that nothing of it stays where it is killed (containers.conf(5),
    # image_copy_tmp_dir: TMPDIR comes first; sudo passes none on).
    eval "within() { (umask 077 && mkdir -p \"\$work/tmp\") && TMPDIR=\$work/tmp $pull_engine \"\$@\"; }"
    bring() { within pull -q $plain "$1" </dev/null; }
    # Archives it unpacks into /var/tmp/oci…, too, wherever TMPDIR leads (containers/image, oci/archive:
    # LoadManifestDescriptor), and leaves that there where it is killed. What was not there before, while nobody else is at
    # it, is such a thing.
    unpacked() { ls -d /var/tmp/oci[0-9]*; }
    unpacked_gone() {
        [ -e "$work/unpacked" ] || return
        for file in /proc/[0-9]*/comm; do
            line=
            read -r line <"$file"
            case $line in podman | skopeo | buildah | crio) return ;; esac
        done
        for file in $(unpacked); do
            grep -q -x -F -e "$file" "$work/unpacked" || rm -rf "$file"
        done
    }
    # It loads one image of an archive and no more: several come as an archive of archives, in their order.
    load() {
        (umask 077 && mkdir -p "$work") && { unpacked >"$work/unpacked" || :; }
        if [ -z "$pull_parts" ]; then
            within load -q
        else
            tar -x -f - -C "$work" || return
            part=1
            while [ -e "$work/$part.tar" ]; do
                within load -q -i "$work/$part.tar" </dev/null || return
                rm -f "$work/$part.tar"
                part=$((part + 1))
            done
        fi
    }
    tie() { ask tag "$1" "$2"; }
    # `rmi` by digest takes the image with all its names (podman 4.3).
    untie() { ask untag "$1" "$2"; }
    drop() {
        said=$(ask image inspect --format "${two}.Id}}" "$1") || return
        ask untag "$1" "$1"
        case $(ask image ls --no-trunc --quiet --filter dangling=true) in *"$said"*) ask rmi "$said" ;; esac
    }
    names() { ask image ls --format "${two}.Names}}" | tr '[], ' '\n\n\n\n' | sed -n -e "s|^\($ours\)\$|\1|p"; }
    ;;
containerd)
    # What breaks off leaves names that point at less than a whole image.
    told() { ask images check "name==\"$1\"" | sed -n -e '2s/^[^ ]*  *[^ ]*  *\([^ ]*\)  *complete .*/\1/p'; }
    # One manifest is asked for, whatever platform it is for. By itself `ctr` takes the one that it believes to be here.
    bring() {
        set -- --all-platforms "$1"
        if [ "$pull_how" = tunnel ]; then
            set -- --plain-http "$@"
        elif [ -d /etc/containerd/certs.d ]; then
            set -- --hosts-dir /etc/containerd/certs.d "$@"
        fi
        engine images pull "$@" </dev/null
    }
    load() { engine images import --all-platforms -; }
    tie() { ask images tag --force "$1" "$2"; }
    drop() { ask images rm "$1"; }
    untie() { drop "$2"; }
    names() { ask images ls --quiet | sed -n -e "s|^\($ours\)\$|\1|p"; }
    ;;
oci)
    place=$pull_place
    work=$place/.polyarch/fleet
    names() { :; }
    ;;
esac

# sum_of FILE: sets `sum` to its digest; to what was said, and fails, where it cannot be read.
sum_of() { sum=$({ sha256sum <"$1"; } 2>&1) && sum=${sum%% *}; }
# keep: what came whole is moved to the other blobs. `wrong` says what did not.
wrong=
keep() {
    for file in "$work"/blobs/*; do
        [ -f "$file" ] || continue
        if ! sum_of "$file"; then
            wrong=${wrong:-$sum}
        elif [ "$sum" != "${file##*/}" ]; then
            wrong="sha256:${file##*/} came as sha256:$sum"
        elif ! said=$(mv "$file" "$place/blobs/sha256/${file##*/}" 2>&1); then
            wrong=${wrong:-$said}
        fi
    done
    [ -z "$wrong" ]
}
sweep() {
    [ -n "$took" ] || return
    names | while read -r name; do drop "$name" >/dev/null; done
    if [ -n "$work" ] && [ -d "$work" ]; then
        case $pull_kind in oci) keep ;; podman) unpacked_gone ;; esac
        rm -rf "$work"
    fi
}

# Whatever comes: nothing of this stays.
finish() {
    trap '' TERM HUP INT PIPE USR1
    sweep
    [ -z "$mine" ] || [ "$(readlink "$lock")" != "$mine" ] || rm -f "$lock"
    [ -z "$watcher" ] || kill "$watcher"
    echo "polyarch-pull-end $pull_nonce"
    exit 0
}
ended() {
    trap '' TERM HUP INT PIPE USR1
    echo "ended $1"
    finish
}
trap 'ended cut' TERM HUP INT PIPE
trap 'ended timeout' USR1

# brought NUMBER NAME SOURCE WANTED CODE WORDS: the engine said WORDS and ended with CODE, and has the image under its
# temporary name, or has not. Of an archive docker and podman may have loaded some images and not others.
brought() {
    at=$(told "$3")
    case $pull_how/$pull_kind in stream/docker | stream/podman) ;; *) [ "$5" = 0 ] || at= ;; esac
    if [ -z "$at" ]; then
        tell "$1" "$6"
    elif [ "$at" != "$4" ]; then
        differs "$1" "$at"
        drop "$3" >/dev/null
    elif [ "$2" != "$3" ] && ! said=$(tie "$3" "$2" 2>&1 >/dev/null); then
        tell "$1" "$said"
    else
        # What a direct pull leaves in docker and podman says where the image is from.
        case $pull_how/$pull_kind in
        direct/docker | direct/podman) ;;
        *) [ "$2" = "$3" ] || untie "$2" "$3" >/dev/null ;;
        esac
        at=$(told "$2")
        if [ "$at" = "$4" ]; then echo "image $1 pulled $at"; else differs "$1" "$at"; fi
    fi
}
# images: goes through the words NUMBER NAME SOURCE WANTED OR, calling `each` for those that are not as wanted.
images() {
    set -f
    set -- $pull_images
    set +f
    while [ $# -ge 5 ]; do
        source=$3
        [ "$pull_how" != tunnel ] || source=127.0.0.1:$port/$3
        at=$(told "$2")
        if [ -n "$at" ] && { [ "$at" = "$4" ] || [ "$at" = "$5" ]; }; then
            echo "image $1 up-to-date $at"
        else
            each "$1" "$2" "$source" "$4"
        fi
        shift 5
    done
}
by_engine() {
    if [ "$pull_how" = stream ]; then
        left=
        each() { left="$left $*"; }
        images
        [ -n "$left" ] || return
        [ -z "$work" ] || rm -rf "$work"
        words=$(load 2>&1 >/dev/null)
        code=$?
        set -f
        set -- $left
        set +f
        while [ $# -ge 4 ]; do
            brought "$1" "$2" "$3" "$4" "$code" "$words"
            shift 4
        done
    else
        each() {
            words=$(bring "$3" 2>&1 >/dev/null)
            brought "$1" "$2" "$3" "$4" $? "$words"
        }
        images
    fi
}

# An OCI image layout. Nothing but `tar`, `sha256sum` and what every system has is needed.
layout_told() {
    sweep
    sum=none
    if [ -e "$place/index.json" ]; then
        sum_of "$place/index.json"
        printf 'index %s\n' "$(tr -d '\n\r' <"$place/index.json")"
    fi
    echo "sum $sum"
    ls -ln "$place/blobs/sha256" | sed -n -e 's/^-[^ ]* *[^ ]* *[^ ]* *[^ ]* *\([0-9]*\) .* \([0-9a-f]\{64\}\)$/blob \1 \2/p'
}
# Makes what is missing of the folder, as polyarch does. A folder with anything else in it is refused.
layout_made() {
    umask 077
    if [ -d "$place" ] && [ ! -e "$place/index.json" ] && [ ! -e "$place/.polyarch" ] && [ -n "$(ls -A "$place")" ]; then
        echo "$place holds files, but is no OCI image layout" >&2
        return 1
    fi
    if [ -e "$place/.polyarch/version" ] && [ "$(cat "$place/.polyarch/version")" != 1 ]; then
        echo "$place is of version $(cat "$place/.polyarch/version"), known is 1" >&2
        return 1
    fi
    rm -rf "$work"
    mkdir -p "$place/blobs/sha256" "$work"
}
# layout_named: what came gets its names, if nobody has changed them since they were asked for.
layout_named() {
    while read -r need; do
        [ -f "$place/blobs/sha256/$need" ] || { echo "polyarch: sha256:$need has gone meanwhile"; return 1; }
    done <"$work/needed"
    sum_of "$work/index.json" || { echo "$sum"; return 1; }
    [ "$sum" = "$pull_new" ] || { echo "index.json came with another digest"; return 1; }
    sum=none
    [ ! -e "$place/index.json" ] || sum_of "$place/index.json" || { echo "$sum"; return 1; }
    [ "$sum" = "$pull_sum" ] || { echo "polyarch: index.json was changed by another meanwhile"; return 1; }
    # A layout is one at any moment, and the names come last: without its own file it would never get that.
    [ -e "$place/index.json" ] || layout_file index.json '{"schemaVersion":2,"manifests":[]}' || return
    [ -e "$place/oci-layout" ] || layout_file oci-layout '{"imageLayoutVersion":"1.0.0"}' || return
    chmod 644 "$work/index.json"
    sync
    mv "$work/index.json" "$place/index.json" || return
    sync
}
# layout_file NAME TEXT: in one step.
layout_file() {
    printf '%s' "$2" >"$work/new" && chmod 644 "$work/new" && mv "$work/new" "$place/$1"
}
layout() {
    if ! said=$(layout_made 2>&1); then
        wrong=${said:-$place cannot be made}
    elif ! said=$(tar -x -f - -C "$work" 2>&1); then
        wrong=${said:-tar failed}
    elif keep; then
        if command -v flock >/dev/null; then
            # A polyarch of the device's own has this lock while it writes names or removes blobs (flock(2)).
            said=$({ { flock 9 && layout_named 9>&-; } 9>>"$place/.polyarch/lock"; } 2>&1) || wrong=${said:-index.json cannot be written}
        else
            said=$(layout_named 2>&1) || wrong=${said:-index.json cannot be written}
        fi
    fi
    set -f
    set -- $pull_images
    set +f
    while [ $# -ge 5 ]; do
        if [ -n "$wrong" ]; then
            tell "$1" "$wrong"
        else
            if ! sum_of "$place/blobs/sha256/${4#sha256:}"; then
                tell "$1" "$sum"
            elif [ "sha256:$sum" = "$4" ]; then
                echo "image $1 pulled $4"
            else
                differs "$1" "sha256:$sum"
            fi
        fi
        shift 5
    done
}
checked() {
    { sh -c "$pull_check" </dev/null 2>&1; printf '\n%s\n' "$?"; } | tail -n 6 | cut -c 1-500 | sed -e '/^[[:space:]]*$/d' -e 's/^/check /'
}

echo "polyarch-pull 1 $pull_nonce"
links=$(above)
watch </dev/null >/dev/null &
watcher=$!
if take; then
    case $pull_how/$pull_kind in
    ask/oci) layout_told ;;
    stream/oci) [ -z "$pull_images" ] || layout ;;
    *) by_engine ;;
    esac
    [ -n "$bad" ] || [ -z "$pull_check" ] || [ "$pull_how" = ask ] || checked
fi
finish
