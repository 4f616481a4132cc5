umask 022
# No SELinux here: theirs labels what it wrote all the same, with this program.
mkdir -p "$WORK/bin"
ln -s /usr/bin/true "$WORK/bin/setfiles"
PATH=$WORK/bin:$PATH
ignition=$1
shift
export IGNITION_CONFIG_FILE="$WORK/config.ign"
export IGNITION_SYSTEM_CONFIG_DIR="$WORK/system"
# The day of a password's last change is this one for both.
export SOURCE_DATE_EPOCH=1750000000
"$@" "$WORK/config.ign" && valid=0 || valid=$?
echo "$valid" > "$WORK/valid"
for stage in fetch-offline fetch kargs disks mount files umount; do
    # Theirs would try for ever to reach what cannot be reached.
    if ! timeout 120 "$ignition" -platform file -root "$WORK/root" -stage "$stage" \
        -config-cache "$WORK/config.json" -state-file "$WORK/state" \
        -neednet "$WORK/neednet" -fetch-timeout 5s -log-to-stdout; then
        echo "$stage" > "$WORK/failed"
        exit 0
    fi
done
preset=$WORK/root/etc/systemd/system-preset/20-ignition.preset
if [ -e "$preset" ]; then
    # The lines of theirs are in the order of a hash table, another one in every run, and
    # the first one about a template counts: here the one that enables.
    if [ "$SIDE" = theirs ]; then
        LC_ALL=C sort -r -o "$preset" "$preset"
    fi
    systemctl --root "$WORK/root" preset-all
fi
