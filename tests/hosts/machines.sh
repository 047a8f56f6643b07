#!/bin/sh
# Several hosts on one machine, each with systemd as process 1, sshd, an address and a file system of its own, by
# systemd-nspawn. Their programs are this machine's (/usr, seen through an overlay); all else is theirs, but for /shared,
# which is one directory.
#
#   machines.sh raise DIRECTORY HOSTS PROGRAM…  until stdin ends; says `up` when all have booted
#   machines.sh boot | crash DIRECTORY HOST     after a crash; as if power failed
#   machines.sh leader DIRECTORY HOST           the process id of the host's process 1, in the machines' process namespace
#   machines.sh ready DIRECTORY HOST            waits until the host has booted
#   machines.sh missing                         what this machine lacks for that, a word a line
#   machines.sh part | heal DIRECTORY HOST HOST lets no packet pass between two hosts, or lets them pass again
#
# `raise` makes namespaces of processes, mounts and network of its own, and everything lives in these: when their first
# process ends, or is killed, the kernel ends every host and removes every mount and interface. All but `raise` and `missing` must
# be called inside. What remains, the directory and control groups, `raise` removes at its end.
set -eu

network=10.77.0
bridge=waldo
# A directory of control groups for each hierarchy that systemd looks after: one, or two on a machine with both versions.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    groups=/sys/fs/cgroup
else
    groups="/sys/fs/cgroup/unified /sys/fs/cgroup/systemd"
fi

command=$1
directory=${2-}
name=waldo-$(basename "$directory")

# Names of hosts are h1, h2, …
address() { echo "$network.1${1#h}"; }

remove_groups() { # HOST, or nothing for all
    for group in $groups; do
        [ -d "$group/$name/${1-}" ] || continue
        find "$group/$name/${1-}" -mindepth "${2-0}" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
}

raise() { # HOSTS PROGRAM...
    hosts=$1
    shift
    mkdir -p "$directory/shared"
    chmod 1777 "$directory/shared"
    ssh-keygen -q -t ed25519 -N '' -f "$directory/key" -C waldo
    ssh-keygen -q -t ed25519 -N '' -f "$directory/host_key" -C waldo
    mkdir -p "$directory/home/.ssh"
    chmod 700 "$directory/home" "$directory/home/.ssh"
    cp "$directory/key" "$directory/home/.ssh/id_ed25519"
    {
        echo "Host *"
        echo "  LogLevel ERROR"
        for number in $(seq "$hosts"); do echo "Host h$number"; echo "  HostName $network.1$number"; done
    } >"$directory/home/.ssh/config"
    for number in $(seq "$hosts"); do
        echo "h$number,$network.1$number $(cut -d' ' -f1,2 "$directory/host_key.pub")"
    done >"$directory/home/.ssh/known_hosts"
    for number in $(seq "$hosts"); do
        furnish "h$number" "$hosts" "$@"
    done
    for group in $groups; do mkdir -p "$group/$name"; done
    # The namespaces end with stdin, and with this process.
    exec 3<&0
    unshare --mount --pid --net --uts --fork --kill-child=KILL --mount-proc --propagation private \
        "$0" inside "$directory" "$hosts" <&3 &
    spaces=$!
    exec 3<&-
    until first=$(pgrep -P "$spaces"); do
        kill -0 "$spaces" && sleep 0.01
    done
    echo "first $first"
    code=0
    wait "$spaces" || code=$?
    # What was killed leaves its control groups a moment later.
    for _ in $(seq 50); do
        remove_groups
        [ -n "$(for group in $groups; do ls -d "$group/$name" 2>/dev/null; done)" ] || break
        sleep 0.1
    done
    rm -rf "$directory"
    exit "$code"
}

# Process 1 of the namespaces. Its end ends all.
inside() { # HOSTS
    mount -t tmpfs tmpfs /run
    mount --bind "$directory/home" /root
    hostname laptop
    ip link set lo up
    ip link add "$bridge" type bridge
    ip addr add "$network.1/24" dev "$bridge"
    ip link set "$bridge" up
    for number in $(seq "$1"); do
        host=h$number
        ip netns add "$host"
        ip link add "v$host" type veth peer name eth0 netns "$host"
        ip link set "v$host" master "$bridge" up
        ip -n "$host" link set lo up
        ip -n "$host" addr add "$(address "$host")/24" dev eth0
        ip -n "$host" link set eth0 up
        boot "$host"
    done
    for number in $(seq "$1"); do
        ready "h$number" || { echo "h$number doesn't boot; its console:" >&2; tail -n 40 "$directory/h$number/console" >&2; exit 1; }
    done
    echo up
    # Children that are left to process 1 are reaped by the shell's own wait.
    cat >/dev/null
}

furnish() { # HOST HOSTS PROGRAM...
    host=$1
    hosts=$2
    shift 2
    root=$directory/$host/root
    mkdir -p "$root" "$directory/$host/usr" "$directory/$host/work"
    (
        cd "$root"
        mkdir -p usr etc var/lib var/log/journal var/cache var/tmp var/spool dev proc sys run tmp root home opt srv mnt
        ln -s /run var/run
        ln -s /run/lock var/lock
        for link in bin sbin lib lib32 lib64 libx32; do
            [ ! -e "/usr/$link" ] || ln -s "usr/$link" "$link"
        done
        chmod 1777 tmp var/tmp
        chmod 700 root
        # Of the machine's configuration what its programs need to run; no service of it.
        for wanted in passwd group nsswitch.conf pam.conf pam.d security login.defs ld.so.cache ld.so.conf \
            ld.so.conf.d ssl alternatives dbus-1 debian_version ssh/sshd_config ssh/moduli; do
            [ -e "/etc/$wanted" ] || continue
            mkdir -p "etc/$(dirname "$wanted")"
            cp -a "/etc/$wanted" "etc/$wanted"
        done
        cut -d: -f1 etc/passwd | sed 's/$/:*:19000:0:99999:7:::/' >etc/shadow
        chmod 600 etc/shadow
        cp /etc/os-release etc/os-release
        : >etc/fstab
        : >etc/resolv.conf
        echo "$host" >etc/hostname
        echo "$host" | md5sum | cut -c1-32 >etc/machine-id
        {
            echo "127.0.0.1 localhost"
            for number in $(seq "$hosts"); do echo "$network.1$number h$number"; done
        } >etc/hosts
        mkdir -p etc/systemd/system/multi-user.target.wants etc/ssh/sshd_config.d root/.ssh
        ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target
        ln -s /lib/systemd/system/ssh.service etc/systemd/system/multi-user.target.wants/ssh.service
        for unwanted in systemd-networkd.service systemd-resolved.service systemd-logind.service console-getty.service \
            getty@.service dev-hugepages.mount sys-fs-fuse-connections.mount systemd-udevd.service \
            systemd-udev-trigger.service systemd-timesyncd.service; do
            ln -sf /dev/null "etc/systemd/system/$unwanted"
        done
        printf 'PermitRootLogin prohibit-password\nUseDNS no\nUsePAM no\n' >etc/ssh/sshd_config.d/waldo.conf
        cp "$directory/host_key" etc/ssh/ssh_host_ed25519_key
        cp "$directory/host_key.pub" etc/ssh/ssh_host_ed25519_key.pub
        cp "$directory/key.pub" root/.ssh/authorized_keys
        chmod 700 root/.ssh
    )
    for program; do
        install -D "$program" "$directory/$host/usr/bin/$(basename "$program")"
    done
}

boot() { # HOST
    root=$directory/$1
    for group in $groups; do mkdir -p "$group/$name/$1"; done
    (
        exec </dev/null >>"$root/console" 2>&1
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
        export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY
        # It leaves with 133 when the host asks for a reboot.
        while :; do
            remove_groups "$1" 1
            # shellcheck disable=SC3028 # of this subshell
            self=$(sh -c 'echo $PPID')
            for group in $groups; do echo "$self" >"$group/$name/$1/cgroup.procs"; done
            code=0
            systemd-nspawn --quiet --boot --directory "$root/root" --machine "$1" --register=no --keep-unit \
                --overlay="/usr:$root/usr:/usr" --bind="$directory/shared:/shared" --network-namespace-path="/run/netns/$1" --capability=all \
                --system-call-filter=bpf --resolv-conf=off --link-journal=no --timezone=off --console=pipe &
            echo $! >"$root/nspawn"
            wait $! || code=$?
            [ "$code" = 133 ] || break
        done
    ) &
}

leader() { # HOST
    # The first child of nspawn's child: another one after each reboot.
    for _ in $(seq 500); do
        outer=$(cat "$directory/$1/nspawn" 2>/dev/null || true)
        if [ -n "$outer" ]; then
            for child in $(pgrep -P "$outer" || true); do
                if [ "$(cat "/proc/$child/comm" 2>/dev/null)" = systemd ]; then
                    echo "$child"
                    return 0
                fi
            done
        fi
        sleep 0.02
    done
    echo "$1 doesn't run" >&2
    return 1
}

missing() {
    [ "$(id -u)" = 0 ] || echo root
    for program in systemd-nspawn sshd ssh ssh-keygen ip iptables nsenter unshare pgrep; do
        command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || echo "$program"
    done
    [ -x /lib/systemd/systemd ] || echo systemd
    [ -d /usr/share/dbus-1 ] || echo dbus
}

ready() { # HOST
    # The console tells why if it never is.
    end=$(($(date +%s) + 60))
    while [ "$(date +%s)" -lt "$end" ]; do
        state=$(nsenter -t "$(leader "$1")" -a systemctl is-system-running 2>/dev/null || true)
        case $state in running | degraded) return 0 ;; esac
        kill -0 "$(cat "$directory/$1/nspawn")" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

crash() { # HOST
    init=$(leader "$1")
    kill -KILL "$init"
    while [ -d "/proc/$init" ]; do sleep 0.01; done
}

case $command in
missing) missing ;;
raise) shift 2 && raise "$@" ;;
inside) inside "$3" ;;
boot) boot "$3" ;;
crash) crash "$3" ;;
leader) leader "$3" ;;
ready) ready "$3" ;;
part | heal)
    change=-I
    [ "$command" = part ] || change=-D
    ip netns exec "$3" iptables "$change" INPUT -s "$(address "$4")" -j DROP
    ip netns exec "$4" iptables "$change" INPUT -s "$(address "$3")" -j DROP
    ;;
*) echo "machines.sh: unknown command $command" >&2 && exit 64 ;;
esac
