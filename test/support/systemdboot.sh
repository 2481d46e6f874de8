#!/bin/sh
# Becomes systemd as PID 1 of a machine in namespaces of its own: systemdmachine.ts starts it, in
# the network namespace of a lab's client.
#
#   systemdboot.sh CGROUP NODE REPOSITORY LAB FILES
#
# /etc is a copy; /run, /dev, /tmp, /opt, /usr/local and the directories of state are empty, so that
# nothing of this machine is changed. FILES has what is added to /etc. The program is installed in
# /usr/local as npm and docs/security.md install it. The lab's files are in /run/lab.
set -e
cgroup=$1 node=$2 repository=$3 lab=$4 files=$5
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ "$6" != inside ]; then
  # A group of its own, which is the root that systemd sees.
  echo 0 >"$cgroup/cgroup.procs"
  exec unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --propagation private \
    "$0" "$@" inside
fi

# What is used from places that are hidden below.
hold=/mnt
mount -t tmpfs -o mode=755 tmpfs $hold
mkdir $hold/repository $hold/lab $hold/files $hold/etc $hold/dev $hold/run
touch $hold/node
mount --bind "$node" $hold/node
mount --bind "$repository" $hold/repository
mount --bind "$lab" $hold/lab
mount --bind "$files" $hold/files
cp -a /etc/. $hold/etc/
# No service of this machine, only what all need.
rm -rf $hold/etc/systemd/system
mkdir $hold/etc/systemd/system
for unit in basic sysinit sockets timers paths slices local-fs network network-online nss-lookup \
  multi-user shutdown umount final time-sync time-set; do
  cp -L /lib/systemd/system/$unit.target $hold/etc/systemd/system/
done
cp -L /lib/systemd/system/systemd-journald.service /lib/systemd/system/systemd-journald.socket \
  /lib/systemd/system/systemd-journald-dev-log.socket $hold/etc/systemd/system/
mkdir $hold/etc/systemd/system/sockets.target.wants
for unit in systemd-journald.socket systemd-journald-dev-log.socket; do
  ln -s ../$unit $hold/etc/systemd/system/sockets.target.wants/
done
cp -rT $hold/files $hold/etc
rm -f $hold/etc/mtab
echo 0123456789abcdef0123456789abcdef >$hold/etc/machine-id
mount --bind $hold/etc /etc

mount -t tmpfs -o mode=755 tmpfs $hold/dev
for node in null zero full random urandom tty; do
  cp -a /dev/$node $hold/dev/
done
mkdir $hold/dev/net $hold/dev/shm $hold/dev/pts
cp -a /dev/net/tun $hold/dev/net/
chmod 666 $hold/dev/net/tun
mount -t tmpfs -o mode=1777 tmpfs $hold/dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts $hold/dev/pts
ln -s pts/ptmx $hold/dev/ptmx
mount --rbind $hold/dev /dev

for place in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs $place; done
for place in /opt /usr/local /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $place; done
mkdir -p /usr/local/bin /usr/local/libexec /usr/local/lib/tunnel-vpn
touch /usr/local/bin/node
mount --bind $hold/node /usr/local/bin/node
mount --bind $hold/repository /usr/local/lib/tunnel-vpn
ln -s ../lib/tunnel-vpn/tunnel /usr/local/bin/tunnel
install -m 755 $hold/repository/dist/native/tunnel-helper /usr/local/libexec/

mount -t tmpfs -o mode=755 tmpfs $hold/run
mkdir $hold/run/lab
mount --bind $hold/lab $hold/run/lab
mount --rbind $hold/run /run

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
systemd-sysusers /etc/sysusers.d/tunnel.conf
export container=tunnel-test SYSTEMD_UNIT_PATH=/etc/systemd/system
# As systemd does outside of containers: it mounts credentials in a namespace of their own.
mount --make-rshared /
# The kernel gives its first process no groups.
exec setpriv --clear-groups /lib/systemd/systemd --system --unit=multi-user.target
