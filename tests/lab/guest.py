"""A whole operating system in 12 MB: Debian's kernel for clouds and busybox. It stops when its power button is pressed.

It says on its serial line when it is up, and when it powers itself off.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

UP = "LAB up"
STOPPING = "LAB powering off"

# The power button is an input device. What is read of it is one event: it was pressed.
_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
insmod /lib/evdev.ko; insmod /lib/button.ko
event=$(awk '/LNXPWRBN/ {{ f = 1 }}
  f && /Handlers/ {{ for (i = 1; i <= NF; i++) if ($i ~ /^event/) print $i; exit }}' /proc/bus/input/devices)
exec 3</dev/input/$event
echo "{UP}"
dd bs=24 count=1 <&3 >/dev/null 2>&1
echo "{STOPPING}"
sleep 1
poweroff -f
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
        for module in ("evdev.ko", "button.ko"):
            shutil.copy(next(unpacked.glob(f"lib/modules/*/kernel/drivers/**/{module}")), root / "lib")
        (root / "init").write_text(_INIT)
        (root / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        archive = subprocess.run(
            [busybox, "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
        )
        self.initrd.write_bytes(gzip.compress(archive.stdout, compresslevel=1))
