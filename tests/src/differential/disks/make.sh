# Makes what the disk $2 holds before a config is carried out: the state $1. $3 is a
# directory to mount at.
state=$1
disk=$2
mount=$3

# What is typed here is known: it is compared as it is. Every other identity is a fresh one.
table() {
    sgdisk --clear --disk-guid=d15c0000-0000-4000-8000-000000000000 "$@" "$disk"
    partx --add "$disk"
}

# Names are those of the file systems: ext4, btrfs, vfat, swap, xfs, and bytes of no kind.
# There are 64 MiB without a partition before swap, and some at the end.
parted() {
    table \
        --new=1:1M:+304M --change-name=1:one --partition-guid=1:11111111-0000-4000-8000-000000000000 \
        --typecode=1:4f68bce3-e8cd-4db1-96e7-fbcaf984b709 \
        --new=2:305M:+304M --change-name=2:two --partition-guid=2:22222222-0000-4000-8000-000000000000 \
        --attributes=2:set:60 --attributes=2:set:2 \
        --new=3:609M:+304M --change-name=3:THREE --partition-guid=3:33333333-0000-4000-8000-000000000000 \
        --typecode=3:c12a7328-f81f-11d2-ba4b-00a0c93ec93b \
        --new=5:977M:+304M --change-name=5:five --partition-guid=5:55555555-0000-4000-8000-000000000000 \
        --typecode=5:0657fd6d-a4ab-43c4-84e5-0933c84b4f4f \
        --new=6:1281M:+304M --change-name=6:six --partition-guid=6:66666666-0000-4000-8000-000000000000 \
        --new=7:1585M:+304M --change-name=7:'seven ✓' \
        --partition-guid=7:77777777-0000-4000-8000-000000000000
}

filled() {
    mkfs.ext4 -q -F -L one -U 11111111-1111-4111-8111-111111111111 "$disk"p1
    mkfs.btrfs -q -L two -U 22222222-2222-4222-8222-222222222222 "$disk"p2
    mkfs.fat -n THREE -i 33333333 "$disk"p3
    mkswap -q -L five -U 55555555-5555-4555-8555-555555555555 "$disk"p5
    mkfs.xfs -q -L six -m uuid=66666666-6666-4666-8666-666666666666 "$disk"p6
    printf 'of no kind' | dd of="$disk"p7 conv=notrunc,nocreat status=none
    for number in 1 2 6; do
        mount "$disk"p$number "$mount"
        fill
        umount "$mount"
    done
    btrfs device scan --forget "$disk"p2
}

fill() {
    mkdir "$mount/old"
    echo old > "$mount/old/file"
    ln "$mount/old/file" "$mount/old/again"
    ln -s file "$mount/old/link"
    chown 1000:50 "$mount/old"
    chmod 2750 "$mount/old"
}

# $1: which copy of the table is damaged, main or backup.
damage() {
    case $1 in
    main) block=1 ;;
    backup) block=$(($(blockdev --getsize64 "$disk") / 512 - 1)) ;;
    esac
    # One byte of the number of entries: the checksum is wrong then.
    printf '\377' | dd of="$disk" bs=1 seek=$((block * 512 + 80)) conv=notrunc status=none
}

case $state in
empty) ;;
bytes)
    # A mebibyte that nobody knows anything about.
    yes 'of no kind' | head -c 1048576 | dd of="$disk" conv=notrunc,nocreat status=none
    ;;
parted | parted-4k | grown)
    parted
    filled
    ;;
bare)
    # The same table, and nothing in it.
    parted
    ;;
gaps)
    # The largest space without a partition is between two.
    table --new=1:1M:+20M --change-name=1:one --new=2:40M:+8M --change-name=2:two \
        --new=3:200M:+8M --change-name=3:three --new=4:230M:+16M --change-name=4:three
    ;;
unaligned)
    table --set-alignment=1 --new=1:34:+1000 --change-name=1:one --new=2:3333:+4444 \
        --change-name=2:two --new=9:300000:+1 --change-name=9:nine
    ;;
full)
    table --new=1:0:+100M --change-name=1:one --new=2:0:0 --change-name=2:two
    ;;
small-table)
    table --resize-table=8 --new=1:1M:+20M --change-name=1:one
    ;;
large-table)
    table --resize-table=256 --new=1:1M:+20M --change-name=1:one --new=200:40M:+8M
    ;;
main-damaged)
    parted
    damage main
    ;;
backup-damaged)
    parted
    damage backup
    ;;
both-damaged)
    parted
    damage main
    damage backup
    ;;
no-mbr)
    parted
    dd if=/dev/zero of="$disk" bs=512 count=1 conv=notrunc status=none
    ;;
no-backup)
    parted
    tail=$(($(blockdev --getsize64 "$disk") / 512 - 33))
    dd if=/dev/zero of="$disk" bs=512 seek=$tail count=33 conv=notrunc status=none
    ;;
mbr)
    printf 'label: dos\nlabel-id: 0x12345678\nsize=20M, type=83\nsize=20M, type=82\n' |
        sfdisk --quiet "$disk"
    partx --add "$disk"
    ;;
whole-ext4) mkfs.ext4 -q -F -L whole -U eeeeeeee-1111-4111-8111-111111111111 "$disk" ;;
whole-vfat) mkfs.fat -I -n WHOLE -i eeee3333 "$disk" ;;
*)
    echo "no state is called $state" >&2
    exit 1
    ;;
esac
sync "$disk"
