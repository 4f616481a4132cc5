# Looks at the disks of $DISKS after all stages went well: $WORK/seen/1p2 is about
# partition 2 of the first disk.
number=0
for disk in $DISKS; do
    number=$((number + 1))
    for node in "$disk" "$disk"p*; do
        [ -b "$node" ] || continue
        seen=$WORK/seen/$number${node#"$disk"}
        mkdir -p "$seen"
        blkid --probe --output export "$node" > "$seen/blkid" || echo "STATUS=$?" >> "$seen/blkid"
        head -c 65536 "$node" | sha256sum > "$seen/start"
        tail -c 65536 "$node" | sha256sum > "$seen/end"
        kind=$(sed -n 's/^TYPE=//p' "$seen/blkid")
        # What is damaged is shown as far as it can be.
        case $kind in
        ext4) dumpe2fs -h "$node" > "$seen/superblock" || true ;;
        xfs) xfs_db -r -c 'sb 0' -c print "$node" > "$seen/superblock" || true ;;
        btrfs) btrfs inspect-internal dump-super "$node" > "$seen/superblock" || true ;;
        vfat)
            minfo -i "$node" :: | sed '1,/^bootsector/d' > "$seen/superblock" || true
            mdir -b -/ -i "$node" :: > "$seen/names" || true
            ;;
        esac
        case $kind in
        ext4 | xfs | btrfs)
            mkdir -p "$WORK/mount" "$seen/tree"
            # A table may cut off the end of what is in a partition.
            if mount -o ro "$node" "$WORK/mount" 2> "$seen/refusal"; then
                cp --archive "$WORK/mount" "$seen/tree/root"
                umount "$WORK/mount"
            fi
            ;;
        esac
        if [ "$kind" = btrfs ]; then
            btrfs device scan --forget "$node" || true
        fi
    done
done
