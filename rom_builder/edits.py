"""What a build changes in a ROM: values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileData:
    """New content of one file and how it lies on the device.

    Attributes:
        mode: Permission bits.
        label: SELinux label; None leaves it to the label of the nearest file.
        unsigned_app: It is an app without a signature: build signs it with the key of the role
            ``apk`` before anything is written.
    """

    data: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    label: str | None = None
    unsigned_app: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """One file that is added, replaced or removed.

    Attributes:
        path: Device path, ``/system/build.prop``.
        new: The file afterwards; None removes it.
        why: The requirement that asks for it, one line.
    """

    path: str
    new: FileData | None
    why: str


@dataclass(frozen=True, slots=True)
class RamdiskEdit:
    """One file in the ramdisk of a boot image that gets new content; it has no device path.

    Attributes:
        partition: Nested name of the image, ``payload.bin!/recovery``.
        path: The file's path in the ramdisk, without a leading slash.
        data: Its content afterwards; owner and mode stay.
        why: The requirement that asks for it, one line.
    """

    partition: str
    path: str
    data: bytes
    why: str

    @property
    def name(self) -> str:
        """Nested name of the file, ``payload.bin!/recovery!/ramdisk!/res/keys``."""
        return f"{self.partition}!/ramdisk!/{self.path}"


@dataclass(frozen=True, slots=True)
class AppEdit:
    """One entry inside an app that must change; the app must then be signed again by its own key.

    Attributes:
        path: Device path of the app.
        entry: Entry of the app.
        data: The entry afterwards.
    """

    path: str
    entry: str
    data: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A demand that no edit of configuration can meet, and what would.

    Attributes:
        path: File that needs a new version; inside an app with the entry, ``/system/app/X.apk!/res/a.xml``.
        why: What stands in the way.
        hint: What to bring.
    """

    path: str
    why: str
    hint: str


Change = Edit | AppEdit | Obstacle
