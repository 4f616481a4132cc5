# Runs in the tree of engines of a guest: `measure.sh WHAT [NUMBER]`. Prints one line for
# each measurement: what, who, and microseconds or bytes, separated by tabs.
set -euo pipefail
export LC_ALL=C
shopt -s nullglob

registry=$(cat /var/tmp/registry)
image=$registry/busybox:1
large=$registry/large:1
bundle=/var/tmp/bundle
rocket=(rocket run --insecure-options=image --net=none)
podman=(podman run --rm --network=none)
nspawn=(systemd-nspawn --quiet --register=no --keep-unit --private-network)

say() { printf '%s\t%s\t%s\n' "$1" "$2" "$3"; }

# WHAT WHO COMMAND…: how long the command takes. EPOCHREALTIME needs no process.
timed() {
    local what=$1 who=$2 begin end
    shift 2
    begin=${EPOCHREALTIME/./}
    "$@" > /dev/null
    end=${EPOCHREALTIME/./}
    say "$what" "$who" $((end - begin))
}

# The image for everybody, and a bundle with the same files.
prepare() {
    rocket fetch --quiet --insecure-options=image "$image"
    podman pull --quiet --tls-verify=false "$image"
    mkdir -p "$bundle/rootfs"
    tar --extract --file=/var/tmp/layer.tar --directory="$bundle/rootfs"
    # systemd-nspawn wants it.
    mkdir -p "$bundle/rootfs/usr"
    (cd "$bundle" && crun spec)
    sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"/"true"/' "$bundle/config.json"
}

start() {
    local round
    for ((round = 0; round <= $1; round++)); do
        timed start 'rocket run' "${rocket[@]}" "$image" -- true
        timed start 'crun run' crun run --bundle "$bundle" crun
        timed start 'rocket oci run' rocket oci run --bundle "$bundle" rocket
        timed start 'runc run' runc run --bundle "$bundle" runc
        timed start 'podman run' "${podman[@]}" "$image" true
        timed start 'systemd-nspawn' "${nspawn[@]}" --directory="$bundle/rootfs" true
    done
    rocket gc --grace-period=0s > /dev/null
}

# COUNT COMMAND…: runs that many at once, each with its number in place of @; how many failed
# is in `lost` then.
together() {
    local count=$1 number pids=()
    shift
    lost=0
    for ((number = 0; number < count; number++)); do
        "${@//@/$number}" > /dev/null &
        pids+=($!)
    done
    for number in "${pids[@]}"; do wait "$number" || lost=$((lost + 1)); done
}

# COUNT WHO COMMAND…: how long as many take at once, and how many of them failed: on a slow
# machine, some of podman do not get at its database in time.
at_once() {
    local count=$1 who=$2
    shift 2
    timed crowd "$who" together "$count" "$@"
    say failed "$who" "$lost"
}

crowd() {
    at_once "$1" 'rocket run' "${rocket[@]}" "$image" -- true
    at_once "$1" 'crun run' crun run --bundle "$bundle" crun@
    at_once "$1" 'runc run' runc run --bundle "$bundle" runc@
    at_once "$1" 'podman run' "${podman[@]}" "$image" true
    rocket gc --grace-period=0s > /dev/null
}

# NAME…: bytes that processes of these names take, each page counted once.
resident() {
    local sum=0 process name key value rest
    for process in /proc/[0-9]*; do
        read -r name 2> /dev/null < "$process/comm" || continue
        [[ " $* " == *" $name "* ]] || continue
        while read -r key value rest; do
            if [[ $key == Pss: ]]; then sum=$((sum + value * 1024)); fi
        done < "$process/smaps_rollup"
    done
    echo "$sum"
}

# How long apps sleep that are looked for; others sleep as well.
readonly asleep=100000

# Their processes.
sleepers() {
    local process words found=()
    for process in /proc/[0-9]*; do
        mapfile -d '' -t words 2> /dev/null < "$process/cmdline" || continue
        if [[ ${words[*]} == "sleep $asleep" ]]; then found+=("${process#/proc/}"); fi
    done
    echo "${found[@]}"
}

# COUNT: waits until there are as many.
until_asleep() {
    local count=$1 begin=$SECONDS
    until read -ra apps <<< "$(sleepers)"; ((${#apps[@]} == count)); do
        if ((SECONDS - begin > 300)); then
            echo "${#apps[@]} apps run instead of $count" >&2
            return 1
        fi
        pause
    done
}

# Not `sleep`, which is what is looked for.
pause() { read -rt 0.2 <> <(:) || true; }

# COUNT NAMES WHO COMMAND…: that many at once, while their apps sleep; what the processes of
# these names take for each.
running() {
    local count=$1 names=$2 who=$3 apps pids=() number
    shift 3
    for ((number = 0; number < count; number++)); do
        "$@" > /dev/null 2>&1 &
        pids+=($!)
    done
    until_asleep "$count"
    # What only starts a container does not count.
    if [[ $who == *detach* ]]; then
        for number in "${pids[@]}"; do wait "$number"; done
    fi
    # shellcheck disable=SC2086 # they are several
    say memory "$who" $(($(resident $names) / count))
    kill -KILL "${apps[@]}"
    for number in "${pids[@]}"; do wait "$number" || true; done
    until_asleep 0
}

memory() {
    running "$1" rocket 'rocket run --detach' "${rocket[@]}" --detach "$image" -- sleep "$asleep"
    running "$1" rocket 'rocket run' "${rocket[@]}" "$image" -- sleep "$asleep"
    running "$1" 'podman conmon' 'podman run --detach' "${podman[@]}" --detach "$image" sleep "$asleep"
    running "$1" systemd-nspawn systemd-nspawn "${nspawn[@]}" --ephemeral \
        --directory="$bundle/rootfs" sleep "$asleep"
    rocket gc --grace-period=0s > /dev/null
}

skopeo_and_umoci() {
    skopeo copy --quiet --src-tls-verify=false "docker://$large" oci:/var/tmp/oci:1
    umoci unpack --image /var/tmp/oci:1 /var/tmp/unpacked
}

fetch() {
    local round
    for ((round = 0; round < $1; round++)); do
        sync
        timed fetch 'rocket fetch' rocket fetch --quiet --insecure-options=image "$large"
        rocket image rm "$large" > /dev/null
        rocket image gc > /dev/null
        sync
        timed fetch 'podman pull' podman pull --quiet --tls-verify=false "$large"
        podman rmi "$large" > /dev/null
        sync
        timed fetch 'skopeo copy, umoci unpack' skopeo_and_umoci
        rm -rf /var/tmp/oci /var/tmp/unpacked
    done
}

# As many pods that have ended as are asked for: copies of one, each with a UUID of its own.
records() {
    local pods=/var/lib/rocket/pods/exited one uuid number file text dir dirs files
    "${rocket[@]}" "$image" -- true
    one=("$pods"/*)
    one=${one[-1]##*/}
    mapfile -t dirs < <(cd "$pods/$one" && find . -type d)
    mapfile -t files < <(cd "$pods/$one" && find . -type f)
    for ((number = 1; number < $1; number++)); do
        for dir in "${dirs[@]}"; do
            printf '%s/00000000-0000-4000-8000-%012x/%s\n' "$pods" "$number" "$dir"
        done
    done | xargs mkdir -p
    for file in "${files[@]}"; do
        text=$(< "$pods/$one/$file")
        for ((number = 1; number < $1; number++)); do
            printf -v uuid '00000000-0000-4000-8000-%012x' "$number"
            printf '%s' "${text//$one/$uuid}" > "$pods/$uuid/$file"
        done
    done
    [[ $(rocket list --no-legend | wc -l) -eq $1 ]]
    timed records 'rocket list' rocket list
    timed records 'rocket gc, nothing is due' rocket gc
    timed records 'rocket gc, all are due' rocket gc --grace-period=0s
    [[ -z $(rocket list --no-legend) ]]
}

"$@"
