#!/bin/busybox sh
# The first process of the test machine. Makes a root file system out of the host's (read only, with a tmpfs
# over it), gives it what a booted Debian has (cgroup v2, /run, /tmp, a disk), runs the tests, says how they
# ended and switches the machine off. Nothing it does reaches the host's files.
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/modules/$module" || echo "init: cannot load $module"
done < /modules/order

mount -t virtiofs -o ro host /host || echo "init: cannot mount the host's files"
mount -t tmpfs -o size=50% tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root || echo "init: no root"

cd /root || exit
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t bpf -o nosuid,nodev,noexec bpf sys/fs/bpf
mount -t devtmpfs -o nosuid devtmpfs dev
mkdir -p dev/pts dev/shm dev/mqueue
mount -t devpts -o nosuid,noexec,mode=620,ptmxmode=666,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs run
mkdir -p run/lock run/netns

# Temporary files and podling's data are on a disk: overlayfs takes no overlayfs as its upper layer, and a
# user's machine has a disk as well.
mkdir /disk
mount -t ext4 /dev/vda /disk || echo "init: no disk"
mkdir -p /disk/tmp /disk/podling var/lib/podling
chmod 1777 /disk/tmp
mount --bind /disk/tmp tmp
mount --bind /disk/podling var/lib/podling

# The modules of this kernel, for modprobe(8), which the kernel calls when something asks for a module.
mkdir -p usr/lib/modules
mount --bind "/root$MODULES" usr/lib/modules
# Opening /dev/loop-control loads this one, but the node itself is made by udev, which is not here.
chroot /root /sbin/modprobe loop || echo "init: no loop devices"

# As systemd does: all controllers for all, and the tests in a cgroup of their own.
for controller in $(cat sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" > sys/fs/cgroup/cgroup.subtree_control
done
mkdir sys/fs/cgroup/session
echo $$ > sys/fs/cgroup/session/cgroup.procs

ip link set lo up
hostname podling-vm
echo 1 > proc/sys/net/ipv4/ip_forward

# A real root, not a chroot: in a chroot no user namespace can be made. What remains of this program is a
# copy of busybox, because the host may have no poweroff(8).
cp /bin/busybox run/busybox
cat > run/session <<END
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# For tests that measure time: the processor is emulated here.
export PODLING_EMULATED=1
mount --make-rshared /
/bin/sh "$RUN"
echo "== machine ended with code \$?"
/run/busybox poweroff -f
END
umount /proc /sys /dev 2> /dev/null
exec switch_root /root /bin/sh /run/session
