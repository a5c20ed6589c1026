"""A whole operating system in 12 MB: Debian's kernel for clouds and busybox. It stops when its power button is pressed.

It says on its serial line when it is up, and when it powers itself off. It lives in memory; or, as one that is started
over a network does, on its disk: then it says which version is there, and writes the versions it is told.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

UP = "LAB up"
STOPPING = "LAB powering off"
VERSION = "LAB has version"
WROTE = "LAB wrote version"
ON_DISK = "lab.on-disk"
"""On the kernel's command line: the system is on the disk."""
DISK_MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")

# The power button is an input device. What is read of it is one event: it was pressed.
_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
insmod /lib/evdev.ko; insmod /lib/button.ko
if grep -q {ON_DISK} /proc/cmdline; then
  for name in {" ".join(DISK_MODULES)}; do insmod /lib/$name.ko; done
  until [ -b /dev/vda ]; do sleep 0.1; done
  mkdir /disk; mount -t ext4 /dev/vda /disk
  for name in dev proc sys; do mount --move /$name /disk/$name; done
  exec switch_root /disk /init
fi
event=$(awk '/LNXPWRBN/ {{ f = 1 }}
  f && /Handlers/ {{ for (i = 1; i <= NF; i++) if ($i ~ /^event/) print $i; exit }}' /proc/bus/input/devices)
exec 3</dev/input/$event
echo "{UP}"
dd bs=24 count=1 <&3 >/dev/null 2>&1
echo "{STOPPING}"
sleep 1
poweroff -f
"""

# Lines come in on the second serial line. The answer is given once the disk has said that it is there to stay.
_INIT_ON_DISK = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
event=$(awk '/LNXPWRBN/ {{ f = 1 }}
  f && /Handlers/ {{ for (i = 1; i <= NF; i++) if ($i ~ /^event/) print $i; exit }}' /proc/bus/input/devices)
exec 3</dev/input/$event
( dd bs=24 count=1 <&3 >/dev/null 2>&1
  echo "{STOPPING}"; sync; mount -o remount,ro /; poweroff -f ) &
stty -F /dev/ttyS1 raw -echo
exec 4</dev/ttyS1
echo "{VERSION} $(cat /version)"
echo "{UP}"
while read -r version <&4; do
  echo "$version" >/version; sync
  echo "{WROTE} $(cat /version)"
done
"""


class Guest:
    """The files that a machine starts from."""

    def __init__(self, unpacked: Path, folder: Path) -> None:
        """`unpacked` is a Debian package linux-image-*-cloud-amd64; the first file system is made in `folder`."""
        self.kernel = next(unpacked.glob("boot/vmlinuz-*"))
        self.initrd = folder / "initrd.gz"
        root = folder / "root"
        for name in ("bin", "lib", "proc", "sys", "dev"):
            (root / name).mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, root / "bin/busybox")
        for module in ("evdev", "button", *DISK_MODULES):
            shutil.copy(next(unpacked.glob(f"lib/modules/*/kernel/drivers/**/{module}.ko")), root / "lib")
        (root / "init").write_text(_INIT)
        (root / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        archive = subprocess.run(
            [busybox, "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
        )
        self.initrd.write_bytes(gzip.compress(archive.stdout, compresslevel=1))


def make_disk(path: Path, version: str) -> None:
    """Writes a disk with a system on it; mounts nothing."""
    root = path.with_suffix(".root")
    for name in ("bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, root / "bin/busybox")
    (root / "init").write_text(_INIT_ON_DISK)
    (root / "init").chmod(0o755)
    (root / "version").write_text(f"{version}\n")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, path, "16M"], check=True)
