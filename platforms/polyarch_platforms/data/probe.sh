# polyarch's probe: asks a machine for the facts that tell what it can execute, and prints them, a fact a line.
# POSIX sh (dash, bash, busybox ash); an ordinary user; writes nothing, changes nothing, runs nothing that stays.
# The answer begins with "polyarch-probe 1" and ends with "end": one without its last line was cut.
LC_ALL=C
PATH=${PATH:-/bin}:/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL PATH
unset IFS
# Nothing is said on stderr, not even where a bare root has no /dev/null. Closed it must not be: toybox opens files there.
if [ -w /dev/null ]; then exec 2>/dev/null; else exec 2</; fi

# has TOOL, run TOOL ARG…: by its path. A busybox that runs its own applets by argv[0] cannot under a QEMU that drops it.
where() { for dir in /usr/bin /bin /usr/sbin /sbin; do [ ! -x "$dir/$1" ] || return 0; done; return 1; }
has() { where "$1" || [ -n "$(command -v "$1")" ]; }
run() {
    tool=$1
    shift
    if where "$tool"; then "$dir/$tool" "$@"; else "$tool" "$@"; fi
}
# hex FILE: its first 64 bytes.
hex() { run od -A n -v -t x1 -N 64 "$1"; }
# words NAME WORD…: one line, whatever white space came.
words() { [ -z "$2" ] || echo "$*"; }
first() { if read -r line || [ -n "$line" ]; then echo "$line"; fi; }

echo "polyarch-probe 1"

set -- $(run uname -s -r -m)
# No uname, but a shell: Linux >= 6.1 has all three there.
[ $# = 3 ] || set -- $(for name in ostype osrelease arch; do first </proc/sys/kernel/$name; done)
release=$2 machine=$3
words uname "$@"

# The userland: the header of the program that reads (od itself), and its auxiliary vector.
user=$(hex /proc/self/exe)
words elf-user $user
words auxv $(run od -A n -v -t x4 /proc/self/auxv)
# The process: what the kernel really started for this shell, seen from a child. Under QEMU's user mode that is QEMU.
words elf-process $(hex "/proc/$$/exe")
words exe "$(run readlink "/proc/$$/exe")"

# The processor, without numbers that differ from core to core; the C library in use; whether "/" is a mount (not in a chroot).
run sed -n \
    -e '/^vendor_id/b cpu' -e '/^model name/b cpu' -e '/^flags/b cpu' \
    -e '/^Features/b cpu' -e '/^CPU implementer/b cpu' -e '/^CPU architecture/b cpu' -e '/^CPU part/b cpu' \
    -e '/^Hardware/b cpu' -e '/^Revision/b cpu' -e '/^Model/b cpu' \
    -e '/^isa/b cpu' -e '/^uarch/b cpu' -e '/^cpu[ 	]*:/b cpu' -e '/^cpu model/b cpu' \
    -e '/^features/b cpu' -e '/^processor 0:/b cpu' \
    -e '/\/ld-musl-/s/.*/libc musl/p' -e '/\/libc[.-][^/]*$/s/.*/libc glibc/p' \
    -e '/^[0-9]* [0-9]* [0-9]*:[0-9]* /{h;s/.*/mountinfo yes/p;g;}' \
    -e '/^[0-9]* [0-9]* [0-9]*:[0-9]* [^ ]* \/ /s/.*/root-mount yes/p' \
    -e b -e ': cpu' -e 's/^/cpu /p' \
    /proc/cpuinfo /proc/self/maps /proc/self/mountinfo | run sort -u

# The board.
tree=/proc/device-tree
[ -r $tree/model ] && words dt-model "$(run tr '\000' '\n' <$tree/model | first)"
[ -r $tree/compatible ] && run tr '\000' '\n' <$tree/compatible | run sed -e '/^$/d' -e 's/^/dt-compatible /'
[ -r $tree/system/linux,revision ] && words dt-revision $(hex $tree/system/linux,revision)

# 32-bit programs on a 64-bit ARM: the kernel refuses the personality where the CPU cannot; where only its configuration
# cannot (no CONFIG_COMPAT), it takes the personality, but says aarch64 all the same.
if [ "$machine" = aarch64 ]; then
    if has linux32; then
        said=$(run linux32 uname -m 2>&1)
    elif has setarch; then
        said=$(run setarch linux32 uname -m 2>&1)
    else
        said=
    fi
    case $said in
    arm* | aarch64) words linux32 "$said" ;;
    *"nvalid argument"*) echo "linux32 refused" ;;
    esac
    [ -r /sys/devices/system/cpu/aarch32_el0 ] && words aarch32-el0 "$(first </sys/devices/system/cpu/aarch32_el0)"
fi

# 386 programs on a 64-bit x86: the kernel's configuration and parameter, its 32-bit vDSO, a 32-bit loader that runs.
if [ "$machine" = x86_64 ]; then
    for config in "/boot/config-$release" "/lib/modules/$release/config" /proc/config.gz; do
        [ -r "$config" ] || continue
        case $config in
        *.gz) has zcat && run zcat "$config" | run sed -n -e '/^CONFIG_IA32_EMULATION/s/^/config /p' -e '/^# CONFIG_IA32_EMULATION/s/^# /config /p' ;;
        *) run sed -n -e '/^CONFIG_IA32_EMULATION/s/^/config /p' -e '/^# CONFIG_IA32_EMULATION/s/^# /config /p' "$config" ;;
        esac
        break
    done
    if [ -r /proc/cmdline ]; then
        set -f
        for word in $(first </proc/cmdline); do
            case $word in ia32_emulation=*) echo "parameter $word" ;; esac
        done
        set +f
    fi
    if [ -e /proc/sys/abi/vsyscall32 ]; then
        echo "vsyscall32 yes"
    elif [ -d /proc/sys/kernel ]; then
        echo "vsyscall32 no"
    fi
    if [ -x /lib/ld-linux.so.2 ]; then
        /lib/ld-linux.so.2 --verify /lib/ld-linux.so.2
        [ $? -le 2 ] && echo "ran-386 yes"
    fi
fi

# Where it runs.
[ -e /.dockerenv ] && echo "inside docker"
[ -e /run/.containerenv ] && echo "inside podman"
[ -n "$container" ] && words inside "$container"
[ -r /run/systemd/container ] && words inside "$(first </run/systemd/container)"
[ -n "$KUBERNETES_SERVICE_HOST" ] && echo "inside kubernetes"
[ -r /proc/self/uid_map ] && words uid-map $(first </proc/self/uid_map)

# What the kernel has registered for foreign programs.
table=/proc/sys/fs/binfmt_misc
[ -r $table/status ] && run grep -s '' $table/* | run sed -e "s,^$table/,binfmt ,"

echo end
