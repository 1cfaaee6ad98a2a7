"""Partition images, what they are packed in, their file systems, and whatever it is."""

from __future__ import annotations

from fuzz.images import disk_images, fixture_images, super_images
from fuzz.targets.target import MAX_READ, drain, drain_tree, each, target
from rom_builder.formats.avb_descriptors import HashDescriptor, HashtreeDescriptor
from rom_builder.formats.avb_verify import verify_image
from rom_builder.formats.boot_image import detect_boot_image, open_boot_image
from rom_builder.formats.brotli_stream import BrotliStream
from rom_builder.formats.compression import Codec, decompress, detect_codec
from rom_builder.formats.cpio import CpioTree
from rom_builder.formats.erofs import open_erofs
from rom_builder.formats.ext4 import open_ext4
from rom_builder.formats.fec import build_fec, compare_fec
from rom_builder.formats.gpt import DiskImage
from rom_builder.formats.mtk_header import strip_mtk_header
from rom_builder.formats.payload import Payload, gaps, problems
from rom_builder.formats.ramdisk import open_ramdisk
from rom_builder.formats.source import BytesSource
from rom_builder.formats.sparse import SparseImage
from rom_builder.formats.squashfs import open_squashfs
from rom_builder.formats.super_image import SuperImage
from rom_builder.formats.tar_tree import TarTree, inflate_gzip
from rom_builder.formats.transfer_list import open_transfer, parse_transfer_list
from rom_builder.formats.vbmeta import parse_vbmeta, read_footer, read_vbmeta, verify_vbmeta
from rom_builder.rom.containers import Contents


@target("payload")
def _(data: bytes) -> None:
    payload = Payload(BytesSource(data))
    each((lambda: problems(payload), lambda: gaps(payload), payload.payload_digest))
    each((payload.metadata_signatures, payload.payload_signatures))
    for name in payload.names[:20]:
        each((lambda name=name: drain(payload.partition(name)),))
        if payload.partition(name).size < 1 << 22:
            each((lambda name=name: payload.verify_partition(name),))


@target("sparse")
def _(data: bytes) -> None:
    image = SparseImage(BytesSource(data))
    drain(image)
    for _offset, _size, source in image.written():
        drain(source)
    if image.size < 1 << 24:
        image.verify_checksums()


@target("gpt", disk_images())
def _(data: bytes) -> None:
    disk = DiskImage(BytesSource(data))
    for partition in disk.partitions:
        each((lambda name=partition.name: drain(disk.partition(name)),))


@target("super", super_images())
def _(data: bytes) -> None:
    image = SuperImage(BytesSource(data))
    for slot, metadata in enumerate(image.slots):
        for partition in metadata.partitions if metadata else ():
            each((lambda p=partition, s=slot: drain(image.partition(p.name, s)),))


@target("vbmeta")
def _(data: bytes) -> None:
    source = BytesSource(data)
    each((lambda: read_footer(source), lambda: read_vbmeta(source)))
    vbmeta = parse_vbmeta(data)
    _ = vbmeta.properties, vbmeta.public_key_sha1
    each((lambda: verify_vbmeta(vbmeta),))
    for item in vbmeta.descriptors:
        if isinstance(item, HashDescriptor | HashtreeDescriptor):
            each((lambda item=item: verify_image(source, item),))


@target("boot")
def _(data: bytes) -> None:
    detect_boot_image(data[:8192])
    boot = open_boot_image(BytesSource(data))
    each((lambda: drain_tree(open_ramdisk([item.content for item in boot.ramdisks], MAX_READ)),))


@target("mtk-header")
def _(data: bytes) -> None:
    strip_mtk_header(BytesSource(data))


@target("ramdisk")
def _(data: bytes) -> None:
    drain_tree(open_ramdisk([BytesSource(data)], MAX_READ))


@target("cpio")
def _(data: bytes) -> None:
    drain_tree(CpioTree([data]))


@target("compression")
def _(data: bytes) -> None:
    codec = detect_codec(data)
    for each_codec in Codec if codec is None else (codec,):
        each((lambda codec=each_codec: decompress(codec, data, MAX_READ),))


@target("brotli")
def _(data: bytes) -> None:
    drain(BrotliStream(BytesSource(data), MAX_READ))


@target("fec")
def _(data: bytes) -> None:
    compare_fec(data[4096:], build_fec(BytesSource(data[:4096])))


@target("transfer-list")
def _(data: bytes) -> None:
    text, _, content = data.partition(b"\0")
    parse_transfer_list(text)
    each(
        lambda brotli=brotli: drain(open_transfer(text, BytesSource(content), brotli=brotli))
        for brotli in (False, True)
    )


@target("tar")
def _(data: bytes) -> None:
    drain_tree(TarTree(BytesSource(data)))


@target("gzip")
def _(data: bytes) -> None:
    drain_tree(TarTree(inflate_gzip(BytesSource(data))))


@target("ext4", fixture_images("formats/data", "ext*"))
def _(data: bytes) -> None:
    tree = open_ext4(BytesSource(data))
    drain_tree(tree)
    tree.check_complete()


@target("erofs", fixture_images("fixtures/erofs", "*"))
def _(data: bytes) -> None:
    drain_tree(open_erofs(BytesSource(data)))


@target("squashfs", fixture_images("formats/data", "squashfs*"))
def _(data: bytes) -> None:
    drain_tree(open_squashfs(BytesSource(data)))


@target("any")
def _(data: bytes) -> None:
    contents = Contents()
    contents.open("", "system", BytesSource(data))
    for partition in list(contents.partitions.values())[:20]:
        each((lambda partition=partition: drain(partition.source),))
