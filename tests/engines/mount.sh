# Makes the root directory that engines run in, in a guest: Debian's tree from its disk, what
# is written kept in /var, and the host's kernel, processes, bus, logs and rocket.
set -e
mkdir -p /var/engines
cd /var/engines
mkdir -p disk upper work root containers containerd tmp /var/lib/rocket
mount -t erofs -o ro "$1" disk
mount -t overlay -o lowerdir=disk,upperdir=upper,workdir=work engines root
mount --make-shared root
for dir in proc sys dev run; do
    mkdir -p "root/$dir"
    mount --rbind "/$dir" "root/$dir"
    # What engines mount there is theirs, and goes with this tree.
    mount --make-rslave "root/$dir"
done
# An overlay cannot be the upper layer of another one.
for dir in containers containerd; do
    mkdir -p "root/var/lib/$dir"
    mount --bind "$dir" "root/var/lib/$dir"
done
mkdir -p root/var/lib/rocket root/var/log
mount --bind /var/lib/rocket root/var/lib/rocket
mount --bind /var/log root/var/log
mount --bind tmp root/var/tmp
touch root/usr/bin/rocket root/etc/machine-id
mount --bind /usr/bin/rocket root/usr/bin/rocket
# Who reads the journal on the disk is shown that of the machine whose identity it finds.
mount --bind /etc/machine-id root/etc/machine-id
# Their mount namespace: in a mere chroot, a process that a runtime brings into a container
# later would find itself in the host's root (setns(2)).
systemd-run --quiet --unit=e2e-engines --property=Type=exec \
    --property=RootDirectory=/var/engines/root sleep infinity
